"""What staff neither see nor change in the admin, although allauth registers it there when it is imported."""

from importlib import import_module

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import admin

for app in ("allauth.mfa", "allauth.usersessions"):
    import_module(f"{app}.admin")
admin.site.unregister([Authenticator, UserSession])
