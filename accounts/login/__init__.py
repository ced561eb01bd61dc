"""Signing up and logging in: registration, log-ins through the API, known devices, and guesses at passwords."""
