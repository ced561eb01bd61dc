"""Inference's part of /api/v1/."""
