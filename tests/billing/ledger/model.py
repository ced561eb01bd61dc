"""The ledger in plain Python, for the state machine to compare with."""

from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from unittest.mock import patch

from django.utils import timezone
from hypothesis import strategies as st

from billing import ledger
from billing.ledger import hot_path
from billing.ledger.entries import expire_due_grants

PROMPT_PRICE, COMPLETION_PRICE, LEAST_TOKENS = 20, 40, 16


@dataclass
class ModelGrant:
    order: int
    is_paid: bool
    amount: int
    left: int
    expires_at: datetime | None

    def spending_key(self):
        return (self.expires_at is None, self.expires_at or timezone.now(), self.is_paid, self.order)


@dataclass
class ModelHold:
    wallet: int
    prompt: int
    most: int
    state: str = "active"
    charged: int = 0
    paid_by: list = field(default_factory=list)  # [grant, part] in the order of spending
    prompt_price: int = PROMPT_PRICE
    completion_price: int = COMPLETION_PRICE

    @property
    def amount(self):
        return self.cost(self.most)

    def cost(self, produced):
        return self.prompt * self.prompt_price + produced * self.completion_price


@dataclass
class ModelTopUp:
    wallet: int
    minor: int
    total: int
    grants: list
    readings: int = 0
    refunded: int = 0
    disputed: int = 0
    taken_back: int = 0

    def next_change(self):
        target = self.total * min(self.refunded + self.disputed, self.minor) // self.minor
        change, self.taken_back = target - self.taken_back, target
        return change


@dataclass
class ModelWallet:
    grants: list = field(default_factory=list)
    debts: list = field(default_factory=list)  # [order it is owed for, what is left], the oldest first

    @property
    def balance(self):
        return sum(grant.left for grant in self.grants)

    @property
    def owed(self):
        return sum(left for _topup, left in self.debts)

    def gain(self, amount, is_paid=False, expires_at=None):
        grant = ModelGrant(len(self.grants), is_paid, amount, amount, expires_at)
        self.grants.append(grant)
        return grant

    def spend(self, amount, own_first=()):
        parts = []
        in_order = sorted(self.grants, key=lambda g: (all(g is not own for own in own_first), g.spending_key()))
        for grant in in_order:
            part = min(grant.left, amount)
            if part:
                grant.left -= part
                amount -= part
                parts.append([grant, part])
        assert amount == 0
        return parts


def way(in_one_call):
    """Take the ordinary way where it can be taken, or the other one always."""
    if in_one_call:
        return nullcontext()
    return patch.multiple(hot_path, place_hold=lambda *_: None, settle_hold=lambda *_: None)


def expire_for_real(user):
    from django.db import transaction

    with transaction.atomic():
        expire_due_grants(ledger.lock_wallet(user=user))


CACHED_PROMPT_PRICE, CACHED_COMPLETION_PRICE = 2, 4
amounts = st.one_of(st.integers(1, 300), st.integers(1, 20_000))
tokens = st.integers(1, 60)
wallets = st.integers(0, 1)
one_call = st.booleans()  # a hold and a settlement are written twice: in one call, and under the lock
# Of each wallet: balance, held, owed, and what is left of its grants. One statement, since it runs after every step.
FIGURES = """
SELECT balance_microcredits, held_microcredits,
    (SELECT COALESCE(SUM(remaining_microcredits), 0)::bigint FROM billing_debt WHERE wallet_id = w.id),
    ARRAY(SELECT remaining_microcredits FROM billing_grant WHERE wallet_id = w.id ORDER BY id)
FROM billing_wallet w WHERE user_id = ANY(%s) ORDER BY user_id"""
