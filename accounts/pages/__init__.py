"""The pages of accounts, and how pages behave after their log-in has ended."""
