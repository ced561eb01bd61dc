"""The admin of users, groups, e-mail addresses and the audit log."""

from accounts.admin import users

__all__ = ["users"]
