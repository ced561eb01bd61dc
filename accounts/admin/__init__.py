"""Users and what staff did to them, in the admin."""

from accounts.admin import users

__all__ = ["users"]
