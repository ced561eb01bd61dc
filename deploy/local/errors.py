"""What can go wrong in a way that the person at the terminal can mend. Messages are whole sentences."""


class StartupError(Exception):
    """Tally cannot start; the message says why and what to do."""


class ServerError(StartupError):
    """PostgreSQL or Redis cannot be had."""


class StepFailedError(StartupError):
    """A setup command failed; the message ends with the last lines it printed."""
