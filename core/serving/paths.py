"""What clients write in a base address, and the path that serves it.

Clients put together a base address and a path, and often there is a slash too many, `v1` twice or not at all. A
redirect would not help them: a POST that follows one becomes a GET. So both APIs take such a path as it is meant.
"""

OPENAI = "/v1/"
REST = "/api/v1/"
_DOCUMENTS = ("schema", "docs", "redoc")  # the pages of the REST API, whose own paths end with a slash


def path_meant(path: str) -> str:
    """The path of an API that `path` means, and every other path as it is."""
    segments = [segment for segment in path.split("/") if segment]
    words = [segment.lower() for segment in segments]
    if words[-2:] == ["chat", "completions"] or words[:1] == ["v1"] or words in (["completions"], ["models"]):
        return _of_openai(segments, words)
    if words[:2] == ["api", "v1"]:
        return _of_rest(segments[2:])
    return path


def _of_openai(segments: list[str], words: list[str]) -> str:
    """A path that begins with something else than `v1` stays unknown, and is answered as OpenAI would."""
    versions = 0
    while words[versions : versions + 1] == ["v1"]:
        versions += 1
    return OPENAI + "/".join(segments[versions:])


def _of_rest(segments: list[str]) -> str:
    is_document = len(segments) == 1 and segments[0] in _DOCUMENTS
    return REST + "/".join(segments) + ("/" if is_document else "")
