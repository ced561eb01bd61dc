"""Copies the static files of an image to a volume, from which nginx serves them.

The name of each file contains a hash of its content. So files of earlier versions stay: a page that was loaded before
an upgrade still finds its own.
"""

import os
import shutil
from pathlib import Path


def copy(source: Path, target: Path) -> int:
    """Copy what `target` does not have yet; return how many files that were. A file appears complete or not at all."""
    copied = 0
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        place = target / file.relative_to(source)
        if place.exists() and place.stat().st_size == file.stat().st_size and file.name != "staticfiles.json":
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = place.with_name(f".{place.name}.{os.getpid()}")
        shutil.copyfile(file, unfinished)
        unfinished.chmod(0o644)
        unfinished.replace(place)
        copied += 1
    return copied
