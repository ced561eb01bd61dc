#!/usr/bin/env python
"""Django's command line. `startup.py` is the way to run everything; this is for single commands."""

import os
import sys


def main() -> None:
    """Run one management command."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:  # a setting is missing or wrong: which, the message says
        sys.exit(f"manage.py: {error}")


if __name__ == "__main__":
    main()
