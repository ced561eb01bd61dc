"""Staff: corrections of customers' wallets, and the second person's decision on them."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.callers.authentication import requires_permission
from accounts.callers.views import ApiList, ApiView
from accounts.models import User
from billing import adjustments
from billing.api import examples
from billing.api.staff import MONEY
from billing.api.staff_serializers import AdjustmentFilter, AdjustmentIn, AdjustmentOut
from billing.models import Adjustment
from core.rest.problems import REFUSED, Problem
from core.rest.schema import IDEMPOTENCY_KEY, operation


class CustomerAdjustments(ApiView):
    """Corrections of a customer's wallet."""

    permission_classes = (requires_permission("billing.adjust_wallet"),)

    @operation(
        tag=MONEY,
        summary="Adjust a customer's credits",
        answer=AdjustmentOut,
        example=examples.ADJUSTMENT,
        body=AdjustmentIn,
        body_example={"amount_microcredits": 5_000_000, "reason": "as agreed on the phone"},
        status=201,
        errors=(402, 409, 422),
        parameters=[IDEMPOTENCY_KEY],
    )
    def post(self, _request: Request, user_id: int) -> Response:
        """Correct a wallet by hand, up or down, once for each key. No more can be taken than is free. Beyond what one
        person may move in a day it waits until a second one approves it; nobody adjusts their own wallet.
        """
        key, fields = self.read_idempotency_key(), self.read_body(AdjustmentIn)
        if fields["amount_microcredits"] == 0:
            raise Problem(REFUSED, _("Nothing is no adjustment."))
        customer = get_object_or_404(User, pk=user_id)
        made = adjustments.adjust_credits(
            user=customer, idempotency_key=f"adjust:api:{self.caller.pk}:{key}", by=self.caller, **fields
        )
        self.mark_replay(made.requested_at)
        return Response(AdjustmentOut(made).data, status=201)


class Adjustments(ApiList):
    """All adjustments."""

    permission_classes = (requires_permission("billing.view_adjustment"),)
    serializer_class = AdjustmentOut
    filterset_class = AdjustmentFilter
    ordering = "-requested_at"

    def rows(self) -> QuerySet[Adjustment]:
        return Adjustment.objects.select_related("wallet")

    @operation(tag=MONEY, summary="List adjustments", answer=AdjustmentOut(many=True), example=examples.ADJUSTMENT)
    def get(self, request: Request) -> Response:
        """Every adjustment, the latest first; `state=waiting` are those that want a second person."""
        return self.list(request)


class AdjustmentView(ApiView):
    """One adjustment."""

    permission_classes = (requires_permission("billing.view_adjustment"),)

    @operation(tag=MONEY, summary="Look at an adjustment", answer=AdjustmentOut, example=examples.ADJUSTMENT)
    def get(self, _request: Request, adjustment_id: UUID) -> Response:
        """One adjustment, and who asked for it and decided."""
        return Response(AdjustmentOut(get_object_or_404(Adjustment, pk=adjustment_id)).data)


class Deciding(ApiView):
    """The second person's decision."""

    permission_classes: Any = (requires_permission("billing.adjust_wallet"),)

    def decide(self, adjustment_id: UUID, *, is_approved: bool) -> Response:
        row = get_object_or_404(Adjustment, pk=adjustment_id)
        decided = adjustments.decide_adjustment(adjustment=row, by=self.caller, is_approved=is_approved)
        return Response(AdjustmentOut(decided).data)


class ApproveAdjustment(Deciding):
    """Approves an adjustment that waits."""

    @operation(
        tag=MONEY,
        summary="Approve an adjustment",
        answer=AdjustmentOut,
        example=examples.ADJUSTMENT | {"decided_by_id": 3},
        errors=(402, 422),
    )
    def post(self, _request: Request, adjustment_id: UUID) -> Response:
        """Carry out an adjustment that waits. Neither whoever asked for it nor the customer can approve it."""
        return self.decide(adjustment_id, is_approved=True)


class RejectAdjustment(Deciding):
    """Rejects an adjustment that waits."""

    @operation(
        tag=MONEY,
        summary="Reject an adjustment",
        answer=AdjustmentOut,
        example=examples.REJECTED_ADJUSTMENT,
        errors=(422,),
    )
    def post(self, _request: Request, adjustment_id: UUID) -> Response:
        """End an adjustment that waits; nothing is moved."""
        return self.decide(adjustment_id, is_approved=False)
