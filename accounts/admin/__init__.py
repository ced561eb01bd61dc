"""The admin of users, groups, e-mail addresses, keys and the audit log."""

from accounts.admin import keys, users, without_pages

__all__ = ["keys", "users", "without_pages"]
