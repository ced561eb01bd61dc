"""Minutes of load while everything is killed, frozen and restarted: `python3 startup.py test -m storm`."""
