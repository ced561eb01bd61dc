"""Conversations: the pages, the streamed answer, the messages."""
