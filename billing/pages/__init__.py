"""The credits pages."""
