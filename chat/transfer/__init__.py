"""Conversations that leave Tally or come into it: as files, also of ChatGPT and Open WebUI, and by shared links."""
