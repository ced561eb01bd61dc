"""Staff: customers' credits, refunds, codes and prices. Permissions are those of the admin.

Adjustments are in `billing.api.staff_adjustments`.
"""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.callers.authentication import requires_permission
from accounts.callers.views import ApiList, ApiView
from accounts.models import User
from billing.api import examples
from billing.api.filters import EntryFilter
from billing.api.serializers import EntryOut, WalletOut
from billing.api.staff_serializers import (
    AnswerRefundIn,
    CodeFilter,
    CodeOut,
    NewCodeIn,
    PaymentRefundIn,
    PriceFilter,
    PriceIn,
    PriceOut,
    RefundFilter,
    RefundOut,
    StockIn,
    StockOut,
)
from billing.api.wallet import wallet_figures
from billing.ledger import price_changes
from billing.models import Hold, LedgerEntry, Price, PromotionCode, Refund, TopUp
from billing.refunds import requests
from billing.reporting.history import entries_of
from billing.topups import promotions
from billing.topups.promotions import CodeTerms
from core.rest.schema import IDEMPOTENCY_KEY, either, operation

MONEY = "Staff: money"
REFUNDS = "Staff: refunds"
CODES = "Staff: codes and prices"


class CustomerWallet(ApiView):
    """A customer's wallet."""

    permission_classes = (requires_permission("billing.view_wallet"),)

    @operation(tag=MONEY, summary="Look at a customer's balance", answer=WalletOut, example=examples.WALLET)
    def get(self, _request: Request, user_id: int) -> Response:
        """What the customer sees as their wallet."""
        return Response(WalletOut(wallet_figures(get_object_or_404(User, pk=user_id))).data)


class CustomerEntries(ApiList):
    """A customer's ledger entries."""

    permission_classes = (requires_permission("billing.view_ledgerentry"),)
    serializer_class = EntryOut
    filterset_class = EntryFilter

    def rows(self) -> QuerySet[LedgerEntry]:
        return entries_of(get_object_or_404(User.objects.select_related("wallet"), pk=self.kwargs["user_id"]))

    @operation(tag=MONEY, summary="List a customer's entries", answer=EntryOut(many=True), example=examples.ENTRY)
    def get(self, request: Request, user_id: int) -> Response:  # noqa: ARG002  `rows` reads it
        """Every movement of one customer's credits, the latest first."""
        return self.list(request)


class Refunds(ApiList):
    """Refunds."""

    permission_classes = (requires_permission("billing.view_refund", write="billing.request_refund"),)
    serializer_class = RefundOut
    filterset_class = RefundFilter
    ordering = "-requested_at"

    def rows(self) -> QuerySet[Refund]:
        return Refund.objects.all()

    @operation(tag=REFUNDS, summary="List refunds", answer=RefundOut(many=True), example=examples.REFUND)
    def get(self, request: Request) -> Response:
        """Every refund, the latest first; `state=waiting` are those that want a second person."""
        return self.list(request)

    @operation(
        tag=REFUNDS,
        summary="Refund an answer or a payment",
        answer=RefundOut,
        example=examples.REFUND,
        body=either("RefundIn", AnswerRefundIn, PaymentRefundIn),
        body_example={"hold_id": examples.HOLD_ID, "amount_microcredits": 81_200, "reason": "it was cut off"},
        status=201,
        errors=(404, 409, 422),
        parameters=[IDEMPOTENCY_KEY],
    )
    def post(self, _request: Request) -> Response:
        """Give back an answer's charge or a payment, or a part, once for each key. Payments need the permission
        `billing.make_refund`; without it, and beyond what one person may move in a day, a second one decides.
        """
        key, is_payment = self.read_idempotency_key(), self.has_field("topup_id")
        fields = self.read_body(PaymentRefundIn if is_payment else AnswerRefundIn)
        refund = requests.request_refund(
            by=self.caller,
            amount=fields["amount_minor" if is_payment else "amount_microcredits"],
            reason=fields["reason"],
            idempotency_key=f"api:{self.caller.pk}:{key}",
            **self.target(fields),
        )
        self.mark_replay(refund.requested_at)
        return Response(RefundOut(refund).data, status=201)

    def target(self, fields: dict[str, Any]) -> dict[str, Any]:
        if "hold_id" in fields:
            return {"hold": get_object_or_404(Hold, pk=fields["hold_id"])}
        if not self.caller.has_perm(requests.PERMISSION):
            raise PermissionDenied(_("Your role refunds answers, not payments."))
        return {"topup": get_object_or_404(TopUp, pk=fields["topup_id"])}


class RefundView(ApiView):
    """One refund."""

    permission_classes = (requires_permission("billing.view_refund"),)

    @operation(tag=REFUNDS, summary="Look at a refund", answer=RefundOut, example=examples.REFUND)
    def get(self, _request: Request, refund_id: UUID) -> Response:
        """One refund; `error` says why it failed or waits."""
        return Response(RefundOut(get_object_or_404(Refund, pk=refund_id)).data)


class Deciding(ApiView):
    """The second person's decision."""

    permission_classes: Any = (requires_permission("billing.make_refund"),)

    def decide(self, refund_id: UUID, *, is_approved: bool) -> Response:
        refund = get_object_or_404(Refund, pk=refund_id)
        return Response(RefundOut(requests.decide_refund(refund=refund, by=self.caller, is_approved=is_approved)).data)


class Approve(Deciding):
    """Approves a refund that waits."""

    @operation(tag=REFUNDS, summary="Approve a refund", answer=RefundOut, example=examples.REFUND, errors=(422,))
    def post(self, _request: Request, refund_id: UUID) -> Response:
        """Carry out a refund that waits. Neither whoever asked for it nor the customer can approve it."""
        return self.decide(refund_id, is_approved=True)


class Reject(Deciding):
    """Rejects a refund that waits."""

    @operation(tag=REFUNDS, summary="Reject a refund", answer=RefundOut, example=examples.REJECTED, errors=(422,))
    def post(self, _request: Request, refund_id: UUID) -> Response:
        """End a refund that waits; nothing is moved."""
        return self.decide(refund_id, is_approved=False)


class StaffCodes(ApiList):
    """Promotion codes."""

    permission_classes = (requires_permission("billing.view_promotioncode", write="billing.add_promotioncode"),)
    serializer_class = CodeOut
    filterset_class = CodeFilter

    def rows(self) -> QuerySet[PromotionCode]:
        return PromotionCode.objects.all()

    @operation(tag=CODES, summary="List promotion codes", answer=CodeOut(many=True), example=examples.CODE)
    def get(self, request: Request) -> Response:
        """Every code and how often it was used, the latest first."""
        return self.list(request)

    @operation(
        tag=CODES,
        summary="Make a promotion code",
        answer=CodeOut,
        example=examples.CODE,
        body=NewCodeIn,
        body_example={"code": "WELCOME", "credits_microcredits": 5_000_000, "most_redemptions": 1000},
        status=201,
        errors=(409,),
    )
    def post(self, _request: Request) -> Response:
        """Make one code that many may use, each as often as `most_per_user` says. One without `most_redemptions`, or
        worth more than one person may give in a day, waits until a second person approves it.
        """
        return Response(CodeOut(promotions.create_code(by=self.caller, **self.read_body(NewCodeIn))).data, status=201)


class Stock(ApiView):
    """Stocks of single-use codes."""

    permission_classes = (requires_permission("billing.add_promotioncode"),)

    @operation(
        tag=CODES,
        summary="Make a stock of codes",
        answer=StockOut,
        example={"batch": "fair 2026", "codes": ["7K3MWQ9ZT2HB"], "is_waiting": False},
        body=StockIn,
        body_example={"batch": "fair 2026", "count": 100, "credits_microcredits": 5_000_000},
        status=201,
        errors=(409,),
    )
    def post(self, _request: Request) -> Response:
        """Make single-use codes under a name. The same name and terms answer the same codes; other terms a 409. Worth
        more than one person may give in a day, they wait until a second person approves one of them, and so all.
        """
        fields = self.read_body(StockIn)
        count = fields.pop("count")
        made = promotions.generate_codes(terms=CodeTerms(**fields), count=count, by=self.caller)
        stock = {"batch": fields["batch"], "codes": [code.code for code in made], "is_waiting": made[0].is_waiting}
        return Response(StockOut(stock).data, status=201)


class ApproveCode(ApiView):
    """The second person's yes to a code."""

    permission_classes = (requires_permission("billing.add_promotioncode"),)

    @operation(tag=CODES, summary="Approve a code", answer=CodeOut, example=examples.APPROVED_CODE, errors=(422,))
    def post(self, _request: Request, code_id: int) -> Response:
        """Let a code that waits be redeemed, with all of its stock. Whoever made it cannot approve it."""
        code = get_object_or_404(PromotionCode, pk=code_id)
        return Response(CodeOut(promotions.approve_code(code=code, by=self.caller)).data)


class Withdraw(ApiView):
    """Ending a code."""

    permission_classes = (requires_permission("billing.change_promotioncode"),)

    @operation(tag=CODES, summary="Withdraw a code", answer=CodeOut, example=examples.CODE | {"is_active": False})
    def post(self, _request: Request, code_id: int) -> Response:
        """Let a code give nothing from now on; what it gave stays."""
        code = get_object_or_404(PromotionCode, pk=code_id)
        return Response(CodeOut(promotions.withdraw_code(code=code, by=self.caller)).data)


class Prices(ApiList):
    """Price versions."""

    permission_classes = (requires_permission("billing.view_price", write="billing.add_price"),)
    serializer_class = PriceOut
    filterset_class = PriceFilter

    def rows(self) -> QuerySet[Price]:
        return Price.objects.all()

    @operation(tag=CODES, summary="List prices", answer=PriceOut(many=True), example=examples.PRICE)
    def get(self, request: Request) -> Response:
        """Every version of every model's prices, the latest first. The newest whose moment has come is in effect."""
        return self.list(request)

    @operation(
        tag=CODES,
        summary="Add a price",
        answer=PriceOut,
        example=examples.PRICE,
        body=PriceIn,
        body_example={
            "model_key": "gemma-3-1b",
            "prompt_microcredits_per_token": 90,
            "completion_microcredits_per_token": 180,
            "effective_at": "2027-01-01T00:00:00Z",
        },
        status=201,
        errors=(409, 422),
    )
    def post(self, _request: Request) -> Response:
        """Add a version; earlier ones are never edited, and running answers keep the price they were promised."""
        price = price_changes.add_price(by=self.caller, **self.read_body(PriceIn))
        return Response(PriceOut(price).data, status=201)
