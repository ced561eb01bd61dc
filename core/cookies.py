"""The cookie of messages between two pages, which Django names without asking the settings."""

from django.contrib.messages.storage.cookie import CookieStorage
from django.contrib.messages.storage.fallback import FallbackStorage
from django.contrib.messages.storage.session import SessionStorage


class HostCookieStorage(CookieStorage):
    """The cookie with the prefix that no other host of the domain can plant."""

    cookie_name = "__Host-messages"


class MessageStorage(FallbackStorage):
    """Messages in that cookie, and in the session where they are too long for it."""

    storage_classes = (HostCookieStorage, SessionStorage)
