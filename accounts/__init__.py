"""Users: their accounts, log-in by e-mail address, API keys, and the rights of staff."""
