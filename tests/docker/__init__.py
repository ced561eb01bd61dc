"""Tally's images and compose.yaml on a real Docker engine: `python3 startup.py test -m docker`."""
