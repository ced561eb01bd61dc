"""Template filters of chat."""
