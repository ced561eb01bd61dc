"""Models and generations in the admin."""

from inference.admin import tables

__all__ = ["tables"]
