"""What of money waits for staff: refunds that failed, disputed payments, messages that were not understood, faults."""

from datetime import timedelta

from django.utils import timezone

from billing.models import PaymentEvent, Proof, Refund, RefundState, TopUp

MOST_SHOWN = 10
FAILED_LATELY = timedelta(days=30)
EVENT_IS_LATE = timedelta(minutes=5)  # a message is worked on within seconds


def read_failed_refunds() -> list[Refund]:
    """Refunds of payments that failed within the last weeks, the newest first. One query."""
    since = timezone.now() - FAILED_LATELY
    failed = Refund.objects.filter(state=RefundState.FAILED, decided_at__gte=since)
    return list(failed.select_related("topup__user").order_by("-decided_at")[:MOST_SHOWN])


def read_disputes() -> list[TopUp]:
    """Payments that are disputed, the newest first. One query."""
    disputed = TopUp.objects.filter(disputed_minor__gt=0)
    return list(disputed.select_related("user").order_by("-created_at")[:MOST_SHOWN])


def read_open_events() -> list[PaymentEvent]:
    """Messages of payment providers that could not be worked on yet, the oldest first. One query."""
    late = PaymentEvent.objects.filter(processed_at=None, received_at__lte=timezone.now() - EVENT_IS_LATE)
    return list(late.defer("payload").order_by("received_at")[:MOST_SHOWN])


def read_faulty_proof() -> Proof | None:
    """The last proof of the ledger, if it found faults. One query."""
    proof = Proof.objects.order_by("-started_at").first()
    return proof if proof is not None and proof.faults_count else None
