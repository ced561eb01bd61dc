"""Payouts in the tests."""

from billing.models import TopUp


def look(topup):
    """What of the payment is refunded here, what Stripe has, and the states of our refunds."""
    found = TopUp.objects.get(pk=topup.pk)
    return found.refunded_minor, list(topup.refunds.order_by("requested_at").values_list("state", flat=True))


def stripes(server):
    """The refunds that Stripe has, by state and amount."""
    return [(refund["status"], refund["amount"]) for refund in server.objects["refunds"].values()]


def send_back(server, number=0, reason="lost_or_stolen_card"):
    """The bank sends a refund back; returns the two events of it."""
    refund_id = list(server.objects["refunds"])[number]
    return [
        server.refund_moves(refund_id, "failed", "updated", reason),
        server.refund_moves(refund_id, "failed", "failed", reason),
    ]
