"""Archives of a user's data: asked for on a page, made by a worker, mailed when ready, kept for some days."""

import tempfile
import zipfile
from datetime import timedelta
from typing import IO

from celery import current_app
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.urls import reverse
from django.utils import timezone

from accounts import audit
from accounts.data_export import read_export
from accounts.mail.security_notices import tell_of_archive
from accounts.models import DataArchive, DataArchivePart, User

MAKE = "accounts.make_archive"
QUEUE = "default"
KEPT = timedelta(days=7)
CLAIM_LAPSES_AFTER = timedelta(minutes=30)
PART_BYTES = 1_000_000
IN_MEMORY_BYTES = 10_000_000  # a larger file lies on the worker's disk while it is made


def request_archive(*, user: User) -> DataArchive:
    """Ask for a new archive, and delete the one before. While one is being made, return that: it is not asked twice."""
    try:
        with transaction.atomic():
            archive = DataArchive.objects.create(user=user)
            DataArchive.objects.for_user(user).exclude(pk=archive.pk).delete()
            audit.record(actor=user, action="data archive requested", subject=user)
            transaction.on_commit(lambda: _queue(archive), robust=True)  # `queue_due_archives` does it if this fails
            return archive
    except IntegrityError:
        return DataArchive.objects.for_user(user).latest("created_at")


def make_archive(*, archive_id: str) -> None:
    """Make an archive that waits, and mail its owner. A second task for it does nothing."""
    waiting = DataArchive.objects.unfinished().filter(pk=archive_id, due_at__lte=Now(), user__is_active=True)
    if not waiting.update(due_at=Now() + CLAIM_LAPSES_AFTER):
        return
    archive = DataArchive.objects.select_related("user").get(pk=archive_id)
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as file:
        _write(archive.user, file)
        _store(archive, file)


def queue_due_archives() -> int:
    """Queue the archives that wait, because their task was lost or their worker died; return how many."""
    due = list(DataArchive.objects.unfinished().filter(due_at__lte=Now()))
    for archive in due:
        _queue(archive)
    return len(due)


def delete_expired_archives() -> int:
    """Delete the archives whose days are over; return how many."""
    expired = list(DataArchive.objects.filter(expires_at__lte=Now()).values_list("pk", flat=True))
    DataArchive.objects.filter(pk__in=expired).delete()
    return len(expired)


def read_part(archive: DataArchive, number: int) -> bytes | None:
    """The piece of the file with this number, or None after the last."""
    content = DataArchivePart.objects.filter(archive=archive, number=number).values_list("content", flat=True).first()
    return None if content is None else bytes(content)


def _write(user: User, file: IO[bytes]) -> None:
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as whole,
        whole.open("tally-data.json", "w", force_zip64=True) as data,
    ):
        for piece in read_export(user):
            data.write(piece)


@transaction.atomic
def _store(archive: DataArchive, file: IO[bytes]) -> None:
    size, number = file.tell(), 0
    file.seek(0)
    while content := file.read(PART_BYTES):
        DataArchivePart.objects.create(archive=archive, number=number, content=content)
        number += 1
    now = timezone.now()
    unfinished = DataArchive.objects.unfinished().filter(pk=archive.pk)
    if unfinished.update(ready_at=now, expires_at=now + KEPT, size_bytes=size):
        link = settings.PUBLIC_URL.rstrip("/") + reverse("settings:archive", args=[archive.pk])
        tell_of_archive(user=archive.user, link=link, days=KEPT.days)


def _queue(archive: DataArchive) -> None:
    current_app.send_task(MAKE, kwargs={"archive_id": str(archive.pk)}, queue=QUEUE)
