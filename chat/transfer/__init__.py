"""Conversations as files: out of Tally, and into it from Tally, ChatGPT and Open WebUI."""
