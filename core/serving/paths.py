"""Corrects API paths that clients join wrongly from a base URL and a path.

The joined path often has a slash too many, or `v1` twice or not at all. A redirect would not help: a POST that follows
a redirect becomes a GET. So both APIs treat such a path as the correct one.
"""

OPENAI = "/v1/"
REST = "/api/v1/"
_DOCUMENTS = ("schema", "docs", "redoc")  # the pages of the REST API, whose own paths end with a slash


def path_meant(path: str) -> str:
    """Return the API path that `path` stands for; any other path as it is."""
    segments = [segment for segment in path.split("/") if segment]
    words = [segment.lower() for segment in segments]
    if words[-2:] == ["chat", "completions"] or words[:1] == ["v1"] or words in (["completions"], ["models"]):
        return _of_openai(segments, words)
    if words[:2] == ["api", "v1"]:
        return _of_rest(segments[2:])
    return path


def _of_openai(segments: list[str], words: list[str]) -> str:
    """The path with exactly one `v1`. A path that begins with another segment stays unknown: OpenAI's 404."""
    versions = 0
    while words[versions : versions + 1] == ["v1"]:
        versions += 1
    return OPENAI + "/".join(segments[versions:])


def _of_rest(segments: list[str]) -> str:
    is_document = len(segments) == 1 and segments[0] in _DOCUMENTS
    return REST + "/".join(segments) + ("/" if is_document else "")
