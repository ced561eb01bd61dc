"""The admin of users, groups, e-mail addresses and the audit log."""

from accounts.admin import users, without_pages

__all__ = ["users", "without_pages"]
