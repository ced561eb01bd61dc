"""Billing's part of /api/v1/."""
