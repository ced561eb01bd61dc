"""Refunds by staff: asked for, approved, paid out."""
