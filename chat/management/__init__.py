"""The commands of chat."""
