"""A hold for fewer tokens than were asked for says what left no room for them."""

from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction

from accounts.api_keys import create_key
from billing import ledger
from billing.ledger.caps import set_cap
from billing.models import Hold
from tests.billing.holds import charge_from_cache
from tests.billing.ledger.attacks import refused
from tests.support.cast import CREDIT, fund
from tests.support.databases.owner import as_owner

pytestmark = pytest.mark.usefixtures("each_way")


def worth(completion_tokens):
    """What 10 tokens of prompt and so many of an answer cost."""
    return 10 * 20 + completion_tokens * 40


def hold_for(user, *, key_cap=None):
    """A hold of 10 tokens in and 100 out, asked for with a key that has this cap."""
    key = None
    if key_cap is not None:
        key, _secret = create_key(user=user, name="test", scopes=["chat"], monthly_cap_microcredits=key_cap)
    held = ledger.hold(
        user=user,
        model_key="gemma-3-270m",
        prompt_tokens=10,
        max_completion_tokens=100,
        reference=f"test:{uuid4()}",
        api_key=key,
    )
    held.refresh_from_db()
    return held.max_completion_tokens, held.limited_by


@pytest.mark.parametrize(
    ("balance", "cap", "key_cap", "tokens", "limit"),
    [
        (worth(50), None, None, 50, "balance"),
        (CREDIT, worth(50), None, 50, "monthly_cap"),
        (CREDIT, None, worth(50), 50, "key_cap"),
        (worth(60), worth(50), worth(40), 40, "key_cap"),
        (worth(60), worth(40), worth(50), 40, "monthly_cap"),
        (worth(40), worth(50), worth(60), 40, "balance"),
        (worth(100), worth(100), worth(100), 100, ""),
        (worth(100), None, None, 100, ""),
    ],
)
def test_what_leaves_the_least_room_limits(bob, faults, balance, cap, key_cap, tokens, limit):
    fund(bob, balance)
    set_cap(user=bob, cap_microcredits=cap)
    assert hold_for(bob, key_cap=key_cap) == (tokens, limit)
    assert faults() == []


def test_an_answer_from_the_cache_is_never_limited(alice):
    assert charge_from_cache(alice).limited_by == ""


def test_the_database_keeps_what_limited_a_hold(bob):
    fund(bob, worth(50))
    hold_for(bob)
    refused(lambda: Hold.objects.update(limited_by="key_cap"))
    with pytest.raises(IntegrityError, match="otherwise never changed"), transaction.atomic():
        as_owner("UPDATE billing_hold SET limited_by = 'key_cap'")
    assert Hold.objects.get().limited_by == "balance"


def test_the_database_knows_the_words(alice):
    hold_for(alice)
    draft = Hold.objects.get()
    draft.pk, draft.reference, draft.limited_by = uuid4(), "another", "the weather"
    with pytest.raises(IntegrityError, match="billing_hold_limit_exists"), transaction.atomic():
        draft.save(force_insert=True)
