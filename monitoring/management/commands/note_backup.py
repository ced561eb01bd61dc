"""Notes that a backup was made, so that an alert opens when the next one fails to come."""

from typing import Any

from django.core.management.base import BaseCommand

from monitoring.alerts.kept import note_backup


class Command(BaseCommand):
    """Call it after the backup has been copied to where it is kept."""

    help = "Note that a backup was made just now. Without it an alert opens after ALERT_BACKUP_HOURS."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Note it, and say so."""
        self.stdout.write(f"A backup was noted at {note_backup():%Y-%m-%d %H:%M} UTC.")
