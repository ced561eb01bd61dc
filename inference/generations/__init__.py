"""One answer, from the request to its end: asked for, held, queued, joined, delivered, ended."""
