"""Internal notes about customers."""

from uuid import UUID

from django.db import transaction

from accounts import audit
from accounts.models import User
from backoffice.models import Note


@transaction.atomic
def write_note(*, customer: User, by: User, text: str, form_id: UUID) -> Note:
    """Write a note about a customer, once for each form. The audit log records that, without the text."""
    note, is_new = Note.objects.get_or_create(
        form_id=form_id, defaults={"customer": customer, "author": by, "text": text}
    )
    if is_new:
        audit.record(actor=by, action="note written", subject=customer, note=note.pk)
    return note
