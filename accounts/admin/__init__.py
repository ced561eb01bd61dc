"""The admin of users, groups, e-mail addresses, keys and the audit log."""

from accounts.admin import audit_log, keys, users, without_pages

__all__ = ["audit_log", "keys", "users", "without_pages"]
