"""Payments by Stripe: Tally's requests to its API, and Stripe's events."""
