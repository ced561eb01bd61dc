"""Bodies and answers of staff's part of billing."""

from typing import Any

import django_filters
from django.core.validators import validate_slug
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing.ledger.price_changes import MOST_PRICE
from billing.models import Adjustment, AdjustmentState, Price, PromotionCode, Refund, RefundState
from core.rest.fields import ApiInput, Credits, Flag, Identifier, Instant, Integer, Microcredits, Text

MOST_ADJUSTED = 10**13  # ten million credits: as the admin has it


class AdjustmentIn(ApiInput):
    """A correction by hand."""

    amount_microcredits = Microcredits(
        min_value=-MOST_ADJUSTED, max_value=MOST_ADJUSTED, help_text="Not zero; with a minus they are taken."
    )
    reason = Text(max_length=200, help_text="In the customer's history and in the audit log.")


class AdjustmentOut(serializers.ModelSerializer[Adjustment]):
    """A correction of a wallet."""

    state = serializers.ChoiceField(AdjustmentState.values, read_only=True)
    user_id = serializers.IntegerField(source="wallet.user_id", read_only=True)
    amount_credits = Credits("amount_microcredits")
    requested_by_id = serializers.IntegerField(read_only=True)
    decided_by_id = serializers.IntegerField(allow_null=True, read_only=True)
    ledger_entry_id = serializers.IntegerField(
        source="entry_id", allow_null=True, read_only=True, help_text="None while it waits, or once it was rejected."
    )

    class Meta:
        model = Adjustment
        fields = (
            "id",
            "state",
            "user_id",
            "amount_microcredits",
            "amount_credits",
            "reason",
            "requested_by_id",
            "requested_at",
            "decided_by_id",
            "decided_at",
            "ledger_entry_id",
        )
        read_only_fields = fields


class RefundOut(serializers.ModelSerializer[Refund]):
    """A refund of an answer or of a payment."""

    state = serializers.ChoiceField(RefundState.values, read_only=True)
    hold_id = serializers.UUIDField(allow_null=True, read_only=True, help_text="Of the answer.")
    topup_id = serializers.UUIDField(allow_null=True, read_only=True, help_text="Of the payment.")
    amount = serializers.IntegerField(read_only=True, help_text="Microcredits of an answer, minor units of a payment.")
    requested_by_id = serializers.IntegerField(read_only=True)
    decided_by_id = serializers.IntegerField(allow_null=True, read_only=True)

    class Meta:
        model = Refund
        fields = (
            "id",
            "state",
            "hold_id",
            "topup_id",
            "amount",
            "reason",
            "requested_by_id",
            "requested_at",
            "decided_by_id",
            "decided_at",
            "error",
        )
        read_only_fields = fields


class AnswerRefundIn(ApiInput):
    """An answer, and how much of its charge."""

    hold_id = Identifier()
    amount_microcredits = Microcredits(min_value=1)
    reason = Text(max_length=200, help_text="The customer reads it.")


class PaymentRefundIn(ApiInput):
    """A payment, and how much of it in minor units."""

    topup_id = Identifier()
    amount_minor = Integer(min_value=1, max_value=2**31 - 1)
    reason = Text(max_length=200, help_text="The customer reads it.")


class CodeOut(serializers.ModelSerializer[PromotionCode]):
    """A promotion code and how often it was used."""

    credits = Credits("credits_microcredits")
    created_by_id = serializers.IntegerField(allow_null=True, read_only=True)
    approved_by_id = serializers.IntegerField(allow_null=True, read_only=True)

    class Meta:
        model = PromotionCode
        fields = (
            "id",
            "code",
            "credits_microcredits",
            "credits",
            "expires_after_days",
            "starts_at",
            "ends_at",
            "most_redemptions",
            "most_per_user",
            "is_for_new_users",
            "is_active",
            "batch",
            "redemptions_count",
            "created_at",
            "created_by_id",
            "is_waiting",
            "approved_by_id",
        )
        read_only_fields = fields


class CodeTermsIn(ApiInput):
    """What a code is worth, when and for whom."""

    credits_microcredits = Microcredits(min_value=1)
    expires_after_days = Integer(
        required=False, allow_null=True, min_value=1, max_value=3660, help_text="The credits expire so long after."
    )
    starts_at = Instant(required=False)
    ends_at = Instant(required=False, allow_null=True)
    is_for_new_users = Flag(default=False)


class NewCodeIn(CodeTermsIn):
    """One code."""

    code = Text(max_length=40, min_length=3, help_text="Stored in upper case.")
    most_redemptions = Integer(required=False, allow_null=True, min_value=1, max_value=2**31 - 1)
    most_per_user = Integer(default=1, min_value=1, max_value=1000)


class StockIn(CodeTermsIn):
    """A stock of single-use codes; asked for again under its name it is the same stock."""

    batch = Text(max_length=60, help_text="Its name.")
    count = Integer(min_value=1, max_value=1000)


class StockOut(serializers.Serializer[Any]):
    """The codes of a stock."""

    batch = serializers.CharField()
    codes = serializers.ListField(child=serializers.CharField())
    is_waiting = serializers.BooleanField(help_text="For a second person, who must approve one of them.")


class PriceOut(serializers.ModelSerializer[Price]):
    """One version of a model's prices."""

    created_by_id = serializers.IntegerField(allow_null=True, read_only=True)

    class Meta:
        model = Price
        fields = (
            "id",
            "model_key",
            "prompt_microcredits_per_token",
            "completion_microcredits_per_token",
            "effective_at",
            "created_by_id",
            "created_at",
        )
        read_only_fields = fields


class PriceIn(ApiInput):
    """A new version."""

    model_key = Text(max_length=64, validators=[validate_slug])
    prompt_microcredits_per_token = Integer(min_value=1, max_value=MOST_PRICE)
    completion_microcredits_per_token = Integer(min_value=1, max_value=MOST_PRICE)
    effective_at = Instant(required=False, help_text="Now, if it is left out; not in the past.")


def _text_filter(*, most: int, **options: Any) -> django_filters.CharFilter:
    """A filter by text of up to `most` characters, which the documentation says too."""
    schema = {"type": "string", "minLength": 1, "maxLength": most}
    return extend_schema_field(schema)(django_filters.CharFilter(max_length=most, **options))


class AdjustmentFilter(django_filters.FilterSet):  # type: ignore[misc]
    """By state."""

    state = django_filters.ChoiceFilter(choices=AdjustmentState.choices)

    class Meta:
        model = Adjustment
        fields = ("state",)


class RefundFilter(django_filters.FilterSet):  # type: ignore[misc]
    """By state."""

    state = django_filters.ChoiceFilter(choices=RefundState.choices)

    class Meta:
        model = Refund
        fields = ("state",)


class CodeFilter(django_filters.FilterSet):  # type: ignore[misc]
    """By spelling, stock and use."""

    code = _text_filter(most=40, lookup_expr="iexact")
    batch = _text_filter(most=60)
    is_active = django_filters.BooleanFilter()
    is_waiting = django_filters.BooleanFilter()

    class Meta:
        model = PromotionCode
        fields = ("is_active", "is_waiting")


class PriceFilter(django_filters.FilterSet):  # type: ignore[misc]
    """By model."""

    model_key = _text_filter(most=64)

    class Meta:
        model = Price
        fields = ("model_key",)
