"""The operators' part of /api/v1/."""
