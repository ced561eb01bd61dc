"""The cast of every test: alice is funded, bob is broke, charlie is an outsider, staff works here."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import factory
from allauth.account.internal.flows.login import record_authentication
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.db import connection
from django.http import HttpRequest
from django.test import Client
from django.utils import timezone

from accounts.models import ApiKey, User
from billing import ledger
from billing.models import EntryKind
from chat.models import Conversation
from inference.models import CatalogueModel, DatabaseWatch, Generation

PASSWORD = "correct horse battery staple"
CREDIT = 1_000_000


class UserFactory(factory.django.DjangoModelFactory[User]):
    """A user who can log in; their wallet is opened by billing's own receiver."""

    class Meta:
        model = User
        skip_postgeneration_save = True

    email = factory.Sequence(lambda n: f"user{n}@example.com")
    password = factory.django.Password(PASSWORD)

    @factory.post_generation
    def verified(user: User, create: bool, _extracted: Any, **_kwargs: Any) -> None:  # noqa: N805
        if create:
            EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)


def fund(user: User, microcredits: int, key: str = "") -> None:
    """Give a test user credits, through the ledger like everybody else."""
    ledger.grant(
        user=user,
        kind=EntryKind.BONUS,
        amount_microcredits=microcredits,
        idempotency_key=key or f"test-fund:{user.pk}:{microcredits}",
        reason="test",
    )


def confirm_session(client: Client, user: User) -> None:
    """As if the user of this client had set up an app, and given its code at the log-in."""
    if not Authenticator.objects.filter(user=user, type=Authenticator.Type.TOTP).exists():
        TOTP.activate(user, generate_totp_secret())
    request = HttpRequest()
    request.session = client.session
    record_authentication(request, user, "mfa", type="totp")
    request.session.save()


def watch_database_for_long() -> None:
    """As if the sweeper had seen the database again and again for an hour: who was silent then, was."""
    now = timezone.now()
    watch = {"seen_at": now, "watched_since": now - timedelta(hours=1)}
    DatabaseWatch.objects.update_or_create(pk=1, defaults=watch)


def answered_talk(user: User, model: CatalogueModel, api_key: ApiKey | None = None) -> Conversation:
    """A conversation of one question, and an answer that was charged, of at most 10 tokens."""
    generation_id = uuid4()
    reference = f"generation:{generation_id}"
    hold = ledger.hold(
        user=user,
        model_key=model.key,
        prompt_tokens=20,
        max_completion_tokens=10,
        reference=reference,
        api_key=api_key,
    )
    hold = ledger.settle(hold_id=hold.pk, completion_tokens=3)
    generation = Generation.objects.create(
        pk=generation_id,
        user=user,
        model=model,
        hold=hold,
        idempotency_key=reference,
        inputs_hash="h",
        state="completed",
        prompt_tokens=hold.prompt_tokens,
        max_completion_tokens=hold.max_completion_tokens,
        requested_completion_tokens=10,
        temperature=0,
        top_p=1,
        top_k=1,
        seed=1,
        text="secret answer",
        completion_tokens=3,
        ended_at=hold.closed_at,
    )
    talk = Conversation.objects.create(user=user, model=model, title="secret talk")
    talk.messages.create(role="user", text="secret question")
    talk.messages.create(role="assistant", text="secret answer", generation=generation)
    return talk


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Run `work(i)` in `count` real threads that start together; return results, exceptions included."""
    barrier = threading.Barrier(count)
    results: list[Any] = [None] * count

    def run(index: int) -> None:
        try:
            barrier.wait()
            results[index] = work(index)
        except Exception as error:  # noqa: BLE001  the test looks at it
            results[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return results


def begin(generation: Any) -> bool:
    """Take a queued generation as a worker does, the user's next one; False when it was not there to take."""
    from inference.generations.statements import claim_next

    claimed = claim_next(generation.model_id, {}, most_of_user=1000)
    return [row.pk for row in claimed] == [generation.pk]
