"""How the money stands now, for operators: open holds, proofs of the ledger, events of payments. Reads few rows."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Q, Sum
from django.db.models.functions import Now
from django.utils import timezone

from billing.models import Hold, HoldState, PaymentEvent, Proof


@dataclass(frozen=True, slots=True)
class Holds:
    """Holds of answers that have not ended: how many, their microcredits, and how many have outlived their time."""

    active: int
    held_microcredits: int
    stuck: int


@dataclass(frozen=True, slots=True)
class LastProof:
    """A proof of everything, or of what was new."""

    is_of_everything: bool
    started_at: datetime
    seconds: float
    entries: int
    faults: int


# Of Stripe, which repeats an event for three days: a payment came.
OF_PAYMENTS = ("checkout.session.completed", "checkout.session.async_payment_succeeded", "payment_intent.succeeded")
REPEATED = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class OpenEvents:
    """Events of payment providers that could not be processed: all of them, and those that say that money came."""

    all: int
    of_payments: int


def read_open_events(*, older_than: timedelta) -> OpenEvents:
    """Events of the last three days that have been open for so long. One query, of open events alone."""
    now = timezone.now()
    is_open = PaymentEvent.objects.filter(processed_at=None, received_at__range=(now - REPEATED, now - older_than))
    figures = is_open.aggregate(all=Count("pk"), of_payments=Count("pk", filter=Q(type__in=OF_PAYMENTS)))
    return OpenEvents(figures["all"], figures["of_payments"])


def read_holds() -> Holds:
    """One query, of active holds alone."""
    stuck = Count("pk", filter=Q(expires_at__lt=Now()))
    figures = Hold.objects.filter(state=HoldState.ACTIVE).aggregate(
        active=Count("pk"), held=Sum("amount_microcredits"), stuck=stuck
    )
    return Holds(figures["active"], figures["held"] or 0, figures["stuck"])


@dataclass(frozen=True, slots=True)
class ProofsOfPeriod:
    """How many proofs there were and how many found faults, and the first of these with their first fault."""

    proofs: int
    faulty: int
    first_faulty: list[tuple[LastProof, str]]


def read_proofs(begin: datetime, end: datetime, most: int) -> ProofsOfPeriod:
    """The proofs that began from one moment to before another; `most` of those with faults. Two queries."""
    proofs = Proof.objects.filter(started_at__gte=begin, started_at__lt=end)
    counts = proofs.aggregate(all=Count("pk"), faulty=Count("pk", filter=Q(faults_count__gt=0)))
    found = proofs.filter(faults_count__gt=0).order_by("started_at")[:most]
    shown = [(_describe(proof), str(next(iter(proof.first_faults), ""))) for proof in found]
    return ProofsOfPeriod(counts["all"], counts["faulty"], shown)


def read_last_proofs() -> list[LastProof]:
    """The last proof of each kind that there was. Two queries."""
    proofs = Proof.objects.order_by("-started_at")
    found = [proofs.filter(after_entry__isnull=is_of_everything).first() for is_of_everything in (True, False)]
    return [_describe(proof) for proof in found if proof is not None]


def _describe(proof: Proof) -> LastProof:
    return LastProof(
        proof.after_entry is None,
        proof.started_at,
        (proof.ended_at - proof.started_at).total_seconds(),
        proof.entries_count,
        proof.faults_count,
    )
