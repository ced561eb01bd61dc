"""Customers' credits: their balance, where they came from and went, and how to get more."""

from typing import Any
from uuid import UUID

from django.db.models import OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import HttpResponseBase
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.callers.authentication import requires_scope
from accounts.callers.views import ApiList, ApiView
from accounts.models import User
from billing.api import (
    errors,  # noqa: F401  registers the problem types
    examples,
)
from billing.api.filters import EntryFilter, GrantFilter, HoldFilter, TopUpFilter
from billing.api.serializers import (
    EXPORTED_ENTRIES,
    AmountIn,
    CodeIn,
    EntryOut,
    GrantOut,
    HoldOut,
    PackageIn,
    PackageOut,
    PaymentOut,
    ReceiptOut,
    TopUpOut,
    UsageOut,
    UsageQuery,
    WalletOut,
)
from billing.models import EntryKind, Grant, Hold, HoldState, LedgerEntry, Package, TopUp, TopUpState, Wallet
from billing.reporting.exports import export_response
from billing.reporting.history import entries_of
from billing.reporting.usage import Usage, summarise_usage
from billing.topups import orders, promotions
from billing.topups.code_tries import count_code_try
from core.rest.schema import IDEMPOTENCY_KEY, either, operation

TAG = "Credits"
BUYING = "Buying credits"
READ = requires_scope("billing:read")


def wallet_figures(user: User) -> dict[str, int]:
    """Return the amounts of a user's wallet, in microcredits. One query."""
    wallets: Any = Wallet.objects.annotate(owed_microcredits=Coalesce(Sum("debts__remaining_microcredits"), 0))
    wallet = wallets.get(user=user)
    names = ("balance_microcredits", "held_microcredits", "available_microcredits", "owed_microcredits")
    return {name: int(getattr(wallet, name)) for name in names}


class WalletView(ApiView):
    """The caller's wallet."""

    permission_classes = (READ,)

    @operation(tag=TAG, summary="Look at my balance", answer=WalletOut, example=examples.WALLET)
    def get(self, _request: Request) -> Response:
        """Balance, what of it is held for running answers, what is free, and what is owed."""
        return Response(WalletOut(wallet_figures(self.caller)).data)


class Holds(ApiList):
    """The caller's holds."""

    permission_classes = (READ,)
    serializer_class = HoldOut
    filterset_class = HoldFilter
    ordering = "-created_at"

    def rows(self) -> QuerySet[Hold]:
        return Hold.objects.filter(wallet__user=self.caller)

    @operation(tag=TAG, summary="List my holds", answer=HoldOut(many=True), example=examples.HOLD)
    def get(self, request: Request) -> Response:
        """What is or was set aside for answers, the latest first."""
        return self.list(request)


class HoldView(ApiView):
    """One of the caller's holds."""

    permission_classes = (READ,)

    @operation(tag=TAG, summary="Look at a hold", answer=HoldOut, example=examples.HOLD)
    def get(self, _request: Request, hold_id: UUID) -> Response:
        """One hold."""
        return Response(HoldOut(get_object_or_404(Hold, wallet__user=self.caller, pk=hold_id)).data)


def receipts_of(user: Any) -> QuerySet[Hold]:
    """Return a user's settled holds, each with the id of its usage entry and the microcredits refunded. One query."""
    entries = LedgerEntry.objects.filter(hold=OuterRef("pk"))
    refunds = entries.filter(kind=EntryKind.REFUND).values("hold").annotate(total=Sum("amount_microcredits"))
    return Hold.objects.filter(wallet__user=user, state=HoldState.SETTLED).annotate(
        ledger_entry_id=Subquery(entries.filter(kind=EntryKind.USAGE).values("pk")),
        refunded_microcredits=Coalesce(Subquery(refunds.values("total")), 0),
    )


class Receipts(ApiList):
    """The caller's receipts."""

    permission_classes = (READ,)
    serializer_class = ReceiptOut
    ordering = "-created_at"

    def rows(self) -> QuerySet[Hold]:
        return receipts_of(self.caller)

    @operation(tag=TAG, summary="List my receipts", answer=ReceiptOut(many=True), example=examples.RECEIPT)
    def get(self, request: Request) -> Response:
        """What each answer cost, the latest first."""
        return self.list(request)


class Receipt(ApiView):
    """One of the caller's receipts."""

    permission_classes = (READ,)

    @operation(tag=TAG, summary="Look at a receipt", answer=ReceiptOut, example=examples.RECEIPT)
    def get(self, _request: Request, hold_id: UUID) -> Response:
        """What one answer cost: tokens times prices. 404 while it runs, and when it cost nothing."""
        return Response(ReceiptOut(get_object_or_404(receipts_of(self.caller), pk=hold_id)).data)


class Entries(ApiList):
    """The caller's ledger entries."""

    permission_classes = (READ,)
    serializer_class = EntryOut
    filterset_class = EntryFilter

    def rows(self) -> QuerySet[LedgerEntry]:
        return entries_of(self.caller)

    @operation(tag=TAG, summary="List my ledger entries", answer=EntryOut(many=True), example=examples.ENTRY)
    def get(self, request: Request) -> Response:
        """Every movement of credits, the latest first. `balance_after` of each is the sum of all up to it."""
        return self.list(request)


class Entry(ApiView):
    """One of the caller's ledger entries."""

    permission_classes = (READ,)

    @operation(tag=TAG, summary="Look at a ledger entry", answer=EntryOut, example=examples.ENTRY)
    def get(self, _request: Request, entry_id: int) -> Response:
        """One movement of credits."""
        return Response(EntryOut(get_object_or_404(entries_of(self.caller), pk=entry_id)).data)


class Grants(ApiList):
    """Where the caller's credits came from."""

    permission_classes = (READ,)
    serializer_class = GrantOut
    filterset_class = GrantFilter

    def rows(self) -> QuerySet[Grant]:
        return Grant.objects.for_user(self.caller).select_related("entry")

    @operation(tag=TAG, summary="List my grants", answer=GrantOut(many=True), example=examples.GRANT)
    def get(self, request: Request) -> Response:
        """Where credit came from, what is left of it and when it expires. What expires soonest is spent first."""
        return self.list(request)


class Packages(ApiList):
    """What can be bought."""

    permission_classes = (READ,)
    serializer_class = PackageOut
    ordering = "price_minor"

    def rows(self) -> QuerySet[Package]:
        """Those on offer."""
        return Package.objects.filter(is_active=True)

    @operation(tag=BUYING, summary="List the packages", answer=PackageOut(many=True), example=examples.PACKAGE)
    def get(self, request: Request) -> Response:
        """What can be bought, the cheapest first."""
        return self.list(request)


class TopUps(ApiList):
    """The caller's orders."""

    permission_classes = (requires_scope("billing:read", write="billing:write"),)
    serializer_class = TopUpOut
    filterset_class = TopUpFilter
    ordering = "-created_at"

    def rows(self) -> QuerySet[TopUp]:
        return TopUp.objects.for_user(self.caller)

    @operation(tag=BUYING, summary="List my top-ups", answer=TopUpOut(many=True), example=examples.TOPUP)
    def get(self, request: Request) -> Response:
        """Every order, paid or not, the latest first."""
        return self.list(request)

    @operation(
        tag=BUYING,
        summary="Order credits",
        answer=TopUpOut,
        example=examples.TOPUP,
        body=either("TopUpIn", PackageIn, AmountIn),
        body_example={"package_id": 2},
        status=201,
        errors=(404, 409, 422, 503),
        parameters=[IDEMPOTENCY_KEY],
    )
    def post(self, request: Request) -> Response:
        """Order a package or an amount, and get the address of its checkout. The same key and body answer the same
        order again; the same key with another body is a 409. After a 503 the same key tries again.
        """
        key = self.read_idempotency_key()
        if self.has_field("package_id"):
            wanted = self.read_body(PackageIn)
            offer = orders.offer_of_package(get_object_or_404(Package, is_active=True, pk=wanted["package_id"]))
        else:
            offer = orders.offer_of_amount(self.read_body(AmountIn)["amount_minor"])
        topup = orders.start_topup(user=self.caller, offer=offer, idempotency_key=key)
        self.mark_replay(topup.created_at)
        return Response(TopUpOut(topup, context={"request": request}).data, status=201)


class TopUpView(ApiView):
    """One of the caller's orders."""

    permission_classes = (READ,)

    @operation(tag=BUYING, summary="Look at a top-up", answer=TopUpOut, example=examples.TOPUP)
    def get(self, request: Request, topup_id: UUID) -> Response:
        """One order. `state` is what the ledger knows: `paid` means that its credits are there."""
        topup = get_object_or_404(TopUp.objects.for_user(self.caller), pk=topup_id)
        return Response(TopUpOut(topup, context={"request": request}).data)


class Payments(ApiList):
    """The caller's payments."""

    permission_classes = (READ,)
    serializer_class = PaymentOut
    ordering = "-paid_at"

    def rows(self) -> QuerySet[TopUp]:
        """Their own that arrived."""
        return TopUp.objects.for_user(self.caller).filter(state=TopUpState.PAID)

    @operation(tag=BUYING, summary="List my payments", answer=PaymentOut(many=True), example=examples.PAYMENT)
    def get(self, request: Request) -> Response:
        """The payments that arrived, the latest first, with what of them was taken back."""
        return self.list(request)


class Payment(ApiView):
    """One of the caller's payments."""

    permission_classes = (READ,)

    @operation(tag=BUYING, summary="Look at a payment", answer=PaymentOut, example=examples.PAYMENT)
    def get(self, _request: Request, topup_id: UUID) -> Response:
        """The payment of one top-up; 404 until it arrived."""
        paid = TopUp.objects.for_user(self.caller).filter(state=TopUpState.PAID)
        return Response(PaymentOut(get_object_or_404(paid, pk=topup_id)).data)


class Codes(ApiView):
    """Promotion codes."""

    permission_classes = (requires_scope("billing:write"),)

    @operation(
        tag=BUYING,
        summary="Redeem a code",
        answer=EntryOut,
        example=examples.REDEEMED,
        body=CodeIn,
        body_example={"code": "WELCOME"},
        status=201,
        errors=(409, 422, 503),
        parameters=[IDEMPOTENCY_KEY],
    )
    def post(self, request: Request) -> Response:
        """Credit a promotion code; the answer is its ledger entry. A retry with the same key gets the same entry.
        Tries are counted by account and by address: a 429 says how long to wait.
        """
        key, code = self.read_idempotency_key(), self.read_body(CodeIn)["code"]
        count_code_try(request=request)
        redemption = promotions.redeem_code(user=self.caller, text=code, idempotency_key=key)
        self.mark_replay(redemption.entry.created_at)
        return Response(EntryOut(redemption.entry).data, status=201)


class UsageView(ApiView):
    """What the caller used."""

    permission_classes = (requires_scope("usage:read"),)

    @operation(
        tag=TAG,
        summary="Sum my usage",
        answer=UsageOut,
        example=examples.USAGE,
        parameters=[UsageQuery],
        errors=(422,),
    )
    def get(self, _request: Request) -> Response:
        """Answers, tokens and charges by model, and charges by UTC day and model, over the last days or between two
        days or moments; all of it, or what was asked for with one key, or for one of your own users.
        """
        asked = self.read_query(UsageQuery)
        used = summarise_usage(
            self.caller,
            since=asked["since"],
            until=asked["until"],
            key_id=asked.get("key"),
            end_user=asked.get("end_user", ""),
        )
        return Response(UsageOut(_by_name(used)).data)


class Export(ApiList):
    """The caller's ledger entries as a file."""

    permission_classes = (READ,)
    pagination_class = None  # type: ignore[assignment]
    serializer_class = EntryOut
    filterset_class = EntryFilter
    format_name = "json"

    def rows(self) -> QuerySet[LedgerEntry]:
        return entries_of(self.caller)

    def send(self) -> HttpResponseBase:
        """Stream the file. An invalid filter is refused."""
        return export_response(self.filter_queryset(self.rows()), self.format_name)


class ExportJson(Export):
    """As JSON."""

    @operation(
        tag=TAG,
        summary="Download my ledger entries as JSON",
        answer=EXPORTED_ENTRIES,
        example=[examples.EXPORTED_ENTRY],
    )
    def get(self, _request: Request) -> HttpResponseBase:  # type: ignore[override]  # a file, no page
        """The whole history that the filters ask for, streamed, however long it is."""
        return self.send()


class ExportCsv(Export):
    """As CSV."""

    format_name = "csv"

    @operation(
        tag=TAG,
        summary="Download my ledger entries as CSV",
        answer=OpenApiTypes.STR,
        example="entry_id,created_at,kind,amount_microcredits\r\n",
        media_type="text/csv",
    )
    def get(self, _request: Request) -> HttpResponseBase:  # type: ignore[override]  # a file, no page
        """The same with a line an entry. Text that a spreadsheet would run gets an apostrophe in front."""
        return self.send()


def _by_name(used: Usage) -> dict[str, Any]:
    keys = [model.model_key for model in used.models]
    days = [
        {
            "day": day.day,
            "charged_microcredits": dict(zip(keys, day.charged_microcredits, strict=True)),
            "total_microcredits": day.total_microcredits,
        }
        for day in used.days
    ]
    return {"total": used.total, "models": used.models, "days": days}
