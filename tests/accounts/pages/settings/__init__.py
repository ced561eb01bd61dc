"""Tests of the pages under /settings/."""
