"""The cast of every test: alice is funded, bob is broke, charlie is an outsider, staff works here."""

import threading
from collections.abc import Callable
from typing import Any

import factory
from allauth.account.models import EmailAddress
from django.db import connection

from accounts.models import User
from billing import ledger
from billing.models import EntryKind

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
