"""Identifies the weights of a model, since other weights give other answers to the same request."""

import hashlib
from functools import lru_cache
from pathlib import Path

from inference.catalogue import find_weights

SAMPLES, SAMPLE_BYTES = 64, 4096


def revision_of(*, key: str, source: str) -> str:
    """SHA-256 of samples of this model's files; the same on every machine with the same files.

    The files are read once per process, and again if a size or modification time changes. Raises ModelUnavailable.
    """
    folder = find_weights(key=key, source=source)
    files = [folder / "config.json", folder / "tokenizer.json", *sorted(folder.glob("*.safetensors"))]
    stats = [(file, file.stat()) for file in files]
    return _fingerprint(tuple((file, stat.st_size, stat.st_mtime_ns) for file, stat in stats))


@lru_cache(maxsize=64)
def _fingerprint(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Hash samples from all parts of each file, not the whole file: milliseconds instead of a minute for 24 GB."""
    digest = hashlib.sha256()
    for file, size, _changed_at in files:
        digest.update(f"{file.name}:{size};".encode())
        with file.open("rb") as opened:
            for number in range(SAMPLES):
                opened.seek(size * number // SAMPLES)
                digest.update(opened.read(SAMPLE_BYTES))
    return digest.hexdigest()
