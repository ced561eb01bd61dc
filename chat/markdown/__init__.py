"""Markdown as safe HTML, whole or as it streams, with coloured code and with formulas."""
