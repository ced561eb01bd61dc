"""Bodies and answers of the customers' part of billing."""

from datetime import date, timedelta
from typing import Any

from django.utils.translation import gettext as _
from rest_framework import serializers

from billing.api.fields import Money
from billing.models import EntryKind, Grant, Hold, HoldState, LedgerEntry, Package, TopUp, TopUpState
from billing.reporting.exports import COLUMNS
from billing.reporting.usage import DEFAULT_DAYS, MOST_DAYS, ModelUse, last_days
from core.days import first_moment
from core.rest.fields import ApiInput, Credits, Integer, Text
from core.rest.filters import Moment
from core.rest.problems import REFUSED, Problem


class WalletOut(serializers.Serializer[Any]):
    """What the caller has."""

    balance_microcredits = serializers.IntegerField()
    balance_credits = Credits("balance_microcredits")
    held_microcredits = serializers.IntegerField(help_text="Set aside for answers that still run.")
    held_credits = Credits("held_microcredits")
    available_microcredits = serializers.IntegerField(help_text="What can be spent now.")
    available_credits = Credits("available_microcredits")
    owed_microcredits = serializers.IntegerField(help_text="For payments that were taken back after they were spent.")
    owed_credits = Credits("owed_microcredits")


class HoldOut(serializers.ModelSerializer[Hold]):
    """The worst case of one answer, set aside before it runs; of an answer from the cache, what it costs."""

    state = serializers.ChoiceField(HoldState.values, read_only=True)
    amount_credits = Credits("amount_microcredits")
    charged_credits = Credits("charged_microcredits", allow_null=True)

    class Meta:
        model = Hold
        fields: tuple[str, ...] = (
            "id",
            "state",
            "model_key",
            "prompt_tokens",
            "max_completion_tokens",
            "completion_tokens",
            "prompt_microcredits_per_token",
            "completion_microcredits_per_token",
            "is_from_cache",
            "amount_microcredits",
            "amount_credits",
            "charged_microcredits",
            "charged_credits",
            "created_at",
            "expires_at",
            "closed_at",
        )
        read_only_fields = fields


class ReceiptOut(serializers.ModelSerializer[Hold]):
    """What one answer cost, and why. Tokens times prices, exactly."""

    hold_id = serializers.UUIDField(source="pk")
    prompt_cost_microcredits = serializers.IntegerField()
    completion_cost_microcredits = serializers.IntegerField()
    charged_credits = Credits("charged_microcredits")
    refunded_microcredits = serializers.IntegerField(help_text="Given back since.")
    refunded_credits = Credits("refunded_microcredits")
    ledger_entry_id = serializers.IntegerField(help_text="The entry that took the charge.")

    class Meta:
        model = Hold
        fields = (
            "hold_id",
            "model_key",
            "prompt_tokens",
            "prompt_microcredits_per_token",
            "prompt_cost_microcredits",
            "completion_tokens",
            "completion_microcredits_per_token",
            "completion_cost_microcredits",
            "is_from_cache",
            "charged_microcredits",
            "charged_credits",
            "refunded_microcredits",
            "refunded_credits",
            "ledger_entry_id",
            "created_at",
            "closed_at",
        )
        read_only_fields = fields


class EntryOut(serializers.ModelSerializer[LedgerEntry]):
    """One movement of credits. Never changed, never deleted."""

    kind = serializers.ChoiceField(EntryKind.values, read_only=True)
    amount_credits = Credits("amount_microcredits")
    balance_after_credits = Credits("balance_after_microcredits")
    hold_id = serializers.UUIDField(allow_null=True, read_only=True, help_text="Of the answer it pays for, or refunds.")

    class Meta:
        model = LedgerEntry
        fields = (
            "id",
            "kind",
            "amount_microcredits",
            "amount_credits",
            "balance_after_microcredits",
            "balance_after_credits",
            "hold_id",
            "reason",
            "created_at",
        )
        read_only_fields = fields


def _or_null(**schema: Any) -> dict[str, Any]:
    return {"nullable": True, **schema}


# An entry in a file of the history: `billing.reporting.exports` writes it, and no serializer.
EXPORTED_ENTRIES = {
    "type": "array",
    "items": {
        "type": "object",
        "required": list(COLUMNS),
        "properties": {
            "entry_id": {"type": "integer"},
            "created_at": {"type": "string", "format": "date-time"},
            "kind": {"type": "string", "enum": EntryKind.values},
            "amount_microcredits": {"type": "integer"},
            "amount_credits": {"type": "string"},
            "balance_after_microcredits": {"type": "integer"},
            "model": _or_null(type="string", description="Of the answer it pays for, or refunds."),
            "prompt_tokens": _or_null(type="integer", description="Of usage alone."),
            "completion_tokens": _or_null(type="integer", description="Of usage alone."),
            "hold_id": _or_null(type="string", format="uuid"),
            "reason": {"type": "string"},
        },
    },
}


class GrantOut(serializers.ModelSerializer[Grant]):
    """Where credit came from, and what is left of it."""

    kind = serializers.ChoiceField(EntryKind.values, source="entry.kind", read_only=True)
    reason = serializers.CharField(source="entry.reason", read_only=True)
    granted_at = serializers.DateTimeField(source="entry.created_at", read_only=True)
    amount_credits = Credits("amount_microcredits")
    remaining_credits = Credits("remaining_microcredits")

    class Meta:
        model = Grant
        fields = (
            "id",
            "kind",
            "reason",
            "amount_microcredits",
            "amount_credits",
            "remaining_microcredits",
            "remaining_credits",
            "granted_at",
            "expires_at",
        )
        read_only_fields = fields


class PackageOut(serializers.ModelSerializer[Package]):
    """Credits at a price; `price_minor` is in smallest units of the currency: cents for `usd`, whole `jpy`."""

    price = Money("price_minor")
    credits = Credits("credits_microcredits")
    bonus_credits = Credits("bonus_microcredits")

    class Meta:
        model = Package
        fields = (
            "id",
            "name",
            "price_minor",
            "price",
            "currency",
            "credits_microcredits",
            "credits",
            "bonus_microcredits",
            "bonus_credits",
        )
        read_only_fields = fields


class PackageIn(ApiInput):
    """A package."""

    package_id = Integer(min_value=1, max_value=2**63 - 1, help_text="From GET /api/v1/packages.")


class AmountIn(ApiInput):
    """An amount of the site's currency."""

    amount_minor = Integer(
        min_value=1, max_value=2**31 - 1, help_text="In smallest units: 1250 is 12.50 USD or 1,250 JPY."
    )


class TopUpOut(serializers.ModelSerializer[TopUp]):
    """An order of credits. Send the customer to `checkout_url`; what counts is `state`, not where they come back."""

    state = serializers.ChoiceField(TopUpState.values, read_only=True)
    amount = Money("amount_minor")
    checkout_url = serializers.SerializerMethodField(help_text="Empty until the provider has opened the checkout.")
    credits = Credits("credits_microcredits")
    bonus_credits = Credits("bonus_microcredits")
    package_id = serializers.IntegerField(allow_null=True, read_only=True)

    class Meta:
        model = TopUp
        fields = (
            "id",
            "state",
            "provider",
            "package_id",
            "amount_minor",
            "amount",
            "currency",
            "credits_microcredits",
            "credits",
            "bonus_microcredits",
            "bonus_credits",
            "checkout_url",
            "created_at",
            "paid_at",
        )
        read_only_fields = fields

    def get_checkout_url(self, topup: TopUp) -> str:
        """A whole address; the sandbox's is a page of ours."""
        url = topup.checkout_url
        return str(self.context["request"].build_absolute_uri(url)) if url else ""


class PaymentOut(serializers.ModelSerializer[TopUp]):
    """A payment that arrived. `refunded_minor` and `disputed_minor` are what was or is being taken back of it."""

    topup_id = serializers.UUIDField(source="pk")
    amount = Money("amount_minor")
    credited_microcredits = serializers.IntegerField(source="total_microcredits", help_text="Bonus included.")
    clawed_back_credits = Credits("clawed_back_microcredits")

    class Meta:
        model = TopUp
        fields = (
            "topup_id",
            "provider",
            "payment_reference",
            "amount_minor",
            "amount",
            "currency",
            "credited_microcredits",
            "refunded_minor",
            "disputed_minor",
            "clawed_back_microcredits",
            "clawed_back_credits",
            "paid_at",
        )
        read_only_fields = fields


class CodeIn(ApiInput):
    """A promotion code, in any case."""

    code = Text(max_length=60)


class UsageQuery(serializers.Serializer[Any]):
    """From when to when, and whose use."""

    days = serializers.IntegerField(
        default=DEFAULT_DAYS, min_value=1, max_value=MOST_DAYS, help_text="So many UTC days, `until` included."
    )
    since = Moment(
        required=False,
        help_text=f"From this UTC day, or this moment, on, in the place of `days`; at most {MOST_DAYS} days with those "
        "of both ends.",
    )
    until = Moment(
        required=False, is_end=True, help_text="Up to this UTC day, or this moment, included; today unless you say."
    )
    key = serializers.IntegerField(
        required=False, min_value=0, max_value=2**63 - 1, help_text="Asked for with this API key; 0: without one."
    )
    end_user = serializers.CharField(
        required=False, max_length=200, help_text="Asked for on behalf of this user of yours."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """With the first and the last moment as `since` and `until`. Raises Problem for a period that is none."""
        until = attrs.get("until") or last_days(1)[1]
        try:
            since = attrs.get("since") or first_moment(until.date() - timedelta(days=attrs["days"] - 1))
        except OverflowError:
            since = first_moment(date.min)
        if since > until or (until.date() - since.date()).days >= MOST_DAYS:
            text = _("A period ends after it begins, and has at most {most} days.").format(most=MOST_DAYS)
            raise Problem(REFUSED, text)
        return attrs | {"since": since, "until": until}


class ModelUseOut(serializers.Serializer[ModelUse]):
    """The answers of one model, or of all."""

    model = serializers.CharField(source="model_key", help_text="Empty for all of them.")
    answers = serializers.IntegerField()
    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    charged_microcredits = serializers.IntegerField()
    charged_credits = Credits("charged_microcredits")


class DayUseOut(serializers.Serializer[Any]):
    """One UTC day, or the part of it that was asked for."""

    day = serializers.DateField()
    charged_microcredits = serializers.DictField(child=serializers.IntegerField(), help_text="By model.")
    total_microcredits = serializers.IntegerField()


class UsageOut(serializers.Serializer[Any]):
    """Charged credits by day and model, straight from the ledger; refunds are not taken off."""

    total = ModelUseOut()
    models = ModelUseOut(many=True)
    days = DayUseOut(many=True)
