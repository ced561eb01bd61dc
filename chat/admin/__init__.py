"""Conversations and marks in the admin."""

from chat.admin import conversations, marks

__all__ = ["conversations", "marks"]
