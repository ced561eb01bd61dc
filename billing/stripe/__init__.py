"""Payments by Stripe: what Tally asks of its API, and what Stripe tells Tally."""
