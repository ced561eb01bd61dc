"""The cookie that carries Django's messages to the next page. Django has no setting for its name."""

from django.contrib.messages.storage.cookie import CookieStorage
from django.contrib.messages.storage.fallback import FallbackStorage
from django.contrib.messages.storage.session import SessionStorage


class HostCookieStorage(CookieStorage):
    """The cookie with the prefix `__Host-`, so that no other host of the domain can set it."""

    cookie_name = "__Host-messages"


class MessageStorage(FallbackStorage):
    """Keeps messages in that cookie, or in the session if they are too long for it."""

    storage_classes = (HostCookieStorage, SessionStorage)
