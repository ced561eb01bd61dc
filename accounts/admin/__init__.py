"""The admin of users, groups, e-mail addresses and the audit log."""

from accounts.admin import audit_log, users, without_pages

__all__ = ["audit_log", "users", "without_pages"]
