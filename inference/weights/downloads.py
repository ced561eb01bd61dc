"""Downloads a model from the hub, reports the progress, and explains failures to operators."""

import os
import re
import threading
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from inference.catalogue import ModelUnavailable
from inference.weights.memory import for_people

if TYPE_CHECKING:
    from collections.abc import Iterator

DESCRIPTION_FILES = ("*.json", "*.jinja")
NEEDED_FILES = (*DESCRIPTION_FILES, "*.safetensors")
SAY_SECONDS = 5.0
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def is_hub_id(source: str) -> bool:
    """Whether this names a model on the hub, owner/name, rather than a folder."""
    return HUB_ID.fullmatch(source) is not None and not Path(source).expanduser().is_dir()


def download_description(source: str, target: Path) -> None:
    """Fetch all files of a hub model except its weights.

    Raises ModelUnavailable as `download_weights` does, and for a model without safetensors.
    """
    token = os.environ.get("HF_TOKEN")
    try:
        files = [file.path for file in HfApi(token=token).list_repo_tree(source, recursive=True)]
        if not any(file.endswith(".safetensors") for file in files):
            raise ModelUnavailable(f"{source} has no weights as safetensors, the only kind that cannot run code.")
        snapshot_download(source, local_dir=target, token=token, allow_patterns=list(DESCRIPTION_FILES))
    except ModelUnavailable:
        raise
    except Exception as error:
        reason = explain(error, source)
        if reason is None:
            raise
        raise ModelUnavailable(reason) from error


def download_weights(*, key: str, source: str, token: str | None, say: Callable[[str], None]) -> Path:
    """Fetch a hub model into MODEL_DIR/<key>. Continues an interrupted download that left files there.

    Raises ModelUnavailable when the hub refuses or cannot be reached, or the disk is full.
    """
    target = settings.MODEL_DIR / key
    try:
        files = HfApi(token=token).list_repo_tree(source, recursive=True)
        total = sum(
            getattr(file, "size", 0) for file in files if Path(file.path).suffix in (".json", ".jinja", ".safetensors")
        )
        say(f"{key}: downloading {source}, {for_people(total)}")
        with _telling(target, total, lambda text: say(f"{key}: {text}")):
            return Path(snapshot_download(source, local_dir=target, token=token, allow_patterns=list(NEEDED_FILES)))
    except Exception as error:
        reason = explain(error, source)
        if reason is None:
            raise
        raise ModelUnavailable(reason) from error


def explain(error: Exception, source: str) -> str | None:
    """Why a download failed, and what to do; None for an error that is neither of the hub nor of the disk."""
    page = f"{constants.ENDPOINT}/{source}"
    if isinstance(error, GatedRepoError):
        return f"The hub refuses {source}: accept its licence at {page} with the account that HF_TOKEN belongs to."
    if isinstance(error, RepositoryNotFoundError):
        return f"The hub knows no {source}, or HF_TOKEN may not see it: look at {page}."
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return f"The hub refuses {source}: HF_TOKEN is not valid (status {status}). Make a new one and set it."
        return f"The hub answered with status {status} instead of {source}. Try again later."
    if isinstance(error, LocalEntryNotFoundError) or type(error).__module__.startswith("http"):
        return f"Downloading {source} failed: the hub at {constants.ENDPOINT} cannot be reached."
    if isinstance(error, OSError):
        return f"Downloading {source} failed: {error.strerror or type(error).__name__}."
    return None


@contextmanager
def _telling(folder: Path, total_bytes: int, say: Callable[[str], None]) -> "Iterator[None]":
    """Report every SAY_SECONDS how much of the total is in the folder."""
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(SAY_SECONDS):
            say(f"{for_people(_bytes_in(folder))} of {for_people(total_bytes)}")

    watcher = threading.Thread(target=watch, name="download-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()


def _bytes_in(folder: Path) -> int:
    """The size of all files in a folder, in bytes. Files may disappear meanwhile, since the library downloads."""
    size = 0
    for path in folder.rglob("*"):
        try:
            size += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return size
