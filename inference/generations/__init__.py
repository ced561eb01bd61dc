"""The life of a generation: requested, held, queued, joined by retries, delivered, ended."""
