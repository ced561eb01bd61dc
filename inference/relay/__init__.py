"""The token relay: each answer has a Redis Stream, which its worker writes and web processes read."""
