"""Called as `manage.py <name>`."""
