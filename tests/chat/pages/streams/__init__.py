"""Streams of answers as the pages show them."""
