"""The base of every app's views: the caller of the API or a page, their credentials, and their limits."""
