"""Chat's part of /api/v1/."""
