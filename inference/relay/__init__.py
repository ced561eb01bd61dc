"""The token relay: one Redis Stream an answer, which its worker writes and whoever watches reads."""
