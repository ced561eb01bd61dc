"""Checks origins, in the browsers' sense of the word, that the settings name."""

from urllib.parse import urlsplit


def is_origin(text: str) -> bool:
    """Whether the text is "*", or http or https with a host and maybe a port, and nothing after it."""
    if text == "*":
        return True
    try:
        parts = urlsplit(text)
        has_good_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    is_whole = text == f"{parts.scheme}://{parts.netloc}" and bool(parts.hostname)
    return parts.scheme in ("http", "https") and is_whole and "@" not in text and "*" not in text and has_good_port
