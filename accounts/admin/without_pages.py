"""What staff neither see nor change in the admin, although allauth registers it there when it is imported."""

from importlib import import_module

from allauth.usersessions.models import UserSession
from django.contrib import admin

import_module("allauth.usersessions.admin")
admin.site.unregister(UserSession)
