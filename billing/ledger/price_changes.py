"""Versions of a model's prices. Staff add them; they never change, and never take effect before they were added."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import User
from billing.models import Price

PRICE_IS_LATE = timedelta(minutes=1)  # a price that was to begin at most this long ago begins now


MOST_PRICE = 10**9  # microcredits per token


class PriceExists(Exception):
    """Another price of the model begins at the same moment, or the model already has these prices."""


class PriceRefused(Exception):
    """The price would have begun in the past."""


def plan_price(
    *,
    model_key: str,
    prompt_microcredits_per_token: int,
    completion_microcredits_per_token: int,
    effective_at: datetime | None = None,
) -> Price:
    """Check a new version of a model's prices and return it unsaved. Raises what `add_price` raises.

    A start within the last minute becomes now, because a form may take that long to arrive. So no price begins in the
    past, and tokens that were sold earlier keep their price.
    """
    now = timezone.now()
    if effective_at is not None and effective_at < now - PRICE_IS_LATE:
        raise PriceRefused(_("A price cannot begin in the past."))
    planned = Price(
        model_key=model_key,
        prompt_microcredits_per_token=prompt_microcredits_per_token,
        completion_microcredits_per_token=completion_microcredits_per_token,
        effective_at=max(effective_at or now, now),
    )
    current = Price.objects.current(model_key)
    if planned.effective_at == now and current is not None and _tokens_of(planned) == _tokens_of(current):
        raise PriceExists(_("These are the model's prices already."))
    return planned


@transaction.atomic
def add_price(
    *,
    model_key: str,
    prompt_microcredits_per_token: int,
    completion_microcredits_per_token: int,
    effective_at: datetime | None = None,
    by: User,
) -> Price:
    """Add a version of a model's prices, in microcredits per token; earlier versions stay.

    Without `effective_at` it begins now. Holds that were made before keep the prices they were promised. Raises
    PriceRefused for a moment in the past, and PriceExists if the model already has these prices or another version
    begins at that moment.
    """
    price = plan_price(
        model_key=model_key,
        prompt_microcredits_per_token=prompt_microcredits_per_token,
        completion_microcredits_per_token=completion_microcredits_per_token,
        effective_at=effective_at,
    )
    before = Price.objects.filter(model_key=model_key, effective_at__lt=price.effective_at)
    earlier = before.order_by("-effective_at", "-pk").first()
    price.created_by = by
    try:
        with transaction.atomic():
            price.save(force_insert=True)
    except IntegrityError as error:
        if "billing_price_one_a_moment" not in str(error):
            raise
        raise PriceExists(_("This model has another price from that moment.")) from error
    changed = audit.differences(_tokens_of(earlier) if earlier else {}, _tokens_of(price))
    begins = price.effective_at.isoformat()
    audit.record(actor=by, action="price added", model=model_key, price=price.pk, effective_at=begins, **changed)
    return price


def _tokens_of(price: Price) -> dict[str, int]:
    return {
        "prompt_microcredits_per_token": price.prompt_microcredits_per_token,
        "completion_microcredits_per_token": price.completion_microcredits_per_token,
    }


def set_first_prices(prices: Mapping[str, tuple[int, int]]) -> None:
    """Price models that have no price yet; staff add later versions.

    `prices` are microcredits per token of the prompt and of the answer, by the model's key.
    """
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    first = [
        Price(
            model_key=key,
            effective_at=begin,
            prompt_microcredits_per_token=prompt,
            completion_microcredits_per_token=completion,
        )
        for key, (prompt, completion) in prices.items()
    ]
    Price.objects.bulk_create(first, ignore_conflicts=True)
