"""The accounts' part of /api/v1/."""
