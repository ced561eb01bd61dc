"""Conversations and their messages: the chat pages, streamed answers, and chat's part of the API."""
