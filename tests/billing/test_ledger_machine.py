"""A plain-Python model predicts every wallet through random sequences of all operations, retries included.

The model shares no code with the ledger: it keeps lists and adds integers. 200 examples of up to 50 steps run in
the suite, 5,000 with `pytest -m thorough`.
"""

import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from unittest.mock import patch

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from billing import ledger
from billing.entries import expire_due_grants
from billing.models import EntryKind, Hold
from billing.verification import verify
from tests.cast import UserFactory

PROMPT_PRICE, COMPLETION_PRICE, LEAST_TOKENS = 20, 40, 16
numbers = count()
amounts = st.one_of(st.integers(1, 300), st.integers(1, 20_000))
tokens = st.integers(1, 60)
wallets = st.integers(0, 1)


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

    @property
    def amount(self):
        return self.prompt * PROMPT_PRICE + self.most * COMPLETION_PRICE


@dataclass
class ModelWallet:
    grants: list = field(default_factory=list)

    @property
    def balance(self):
        return sum(grant.left for grant in self.grants)

    def spend(self, amount):
        parts = []
        for grant in sorted(self.grants, key=ModelGrant.spending_key):
            part = min(grant.left, amount)
            if part:
                grant.left -= part
                amount -= part
                parts.append([grant, part])
        assert amount == 0
        return parts


class LedgerMachine(RuleBasedStateMachine):
    holds = Bundle("holds")
    entries = Bundle("entries")

    @initialize()
    def open_two_wallets(self):
        with connection.cursor() as cursor:  # or the triggers go on with the plans they made for empty tables
            cursor.execute("ANALYZE billing_wallet, billing_ledgerentry, billing_hold, billing_grant, billing_grantuse")
        self.now = timezone.now()
        self.clock = patch("django.utils.timezone.now", lambda: self.now)
        self.clock.start()
        self.users = [UserFactory(email=f"machine{next(numbers)}@example.com") for _ in range(2)]
        self.model = [ModelWallet(), ModelWallet()]
        self.model_holds = {}

    def held(self, wallet):
        return sum(h.amount for h in self.model_holds.values() if h.wallet == wallet and h.state == "active")

    def available(self, wallet):
        return self.model[wallet].balance - self.held(wallet)

    def expire_in_model(self, wallet):
        for grant in sorted(self.model[wallet].grants, key=ModelGrant.spending_key):
            if grant.expires_at is not None and grant.expires_at <= self.now:
                grant.left -= max(0, min(grant.left, self.available(wallet)))

    @rule(
        target=entries,
        wallet=wallets,
        amount=amounts,
        kind=st.sampled_from([EntryKind.BONUS, EntryKind.TOP_UP, EntryKind.PROMOTION]),
        days=st.one_of(st.none(), st.integers(1, 5)),
    )
    def grant(self, wallet, amount, kind, days):
        expires_at = None if days is None else self.now + timedelta(days=days)
        inputs = {
            "user": self.users[wallet],
            "kind": kind,
            "amount_microcredits": amount,
            "idempotency_key": f"machine-{next(numbers)}",
            "reason": "machine",
            "expires_at": expires_at,
        }
        ledger.grant(**inputs)
        order = len(self.model[wallet].grants)
        grant = ModelGrant(order, kind == EntryKind.TOP_UP, amount, amount, expires_at)
        self.model[wallet].grants.append(grant)
        return inputs

    @rule(inputs=entries)
    def grant_again(self, inputs):
        ledger.grant(**inputs)
        with pytest.raises(ledger.IdempotencyConflict):
            ledger.grant(**{**inputs, "amount_microcredits": inputs["amount_microcredits"] + 1})

    @rule(wallet=wallets, amount=st.integers(-5000, 5000).filter(bool))
    def adjust(self, wallet, amount):
        def work():
            return ledger.adjust(
                user=self.users[wallet],
                amount_microcredits=amount,
                idempotency_key=f"machine-{next(numbers)}",
                reason="machine",
                by=self.users[wallet],
            )

        if -amount > self.available(wallet):
            with pytest.raises(ledger.InsufficientCredits):
                work()
            return
        work()
        model = self.model[wallet]
        if amount > 0:
            model.grants.append(ModelGrant(len(model.grants), False, amount, amount, None))
        else:
            model.spend(-amount)

    @rule(target=holds, wallet=wallets, prompt=tokens, most=st.one_of(tokens, st.just(10**6)))
    def hold(self, wallet, prompt, most):
        self.expire_in_model(wallet)
        affordable = (self.available(wallet) - prompt * PROMPT_PRICE) // COMPLETION_PRICE
        reference = f"machine-{next(numbers)}"

        def work():
            return ledger.hold(
                user=self.users[wallet],
                model_key="gemma-3-270m",
                prompt_tokens=prompt,
                max_completion_tokens=most,
                reference=reference,
            )

        if affordable < min(most, LEAST_TOKENS):
            with pytest.raises(ledger.InsufficientCredits):
                work()
            expire_for_real(self.users[wallet])  # the refusal rolled it back
            return None
        made = work()
        self.model_holds[made.pk] = ModelHold(wallet, prompt, min(most, affordable))
        with pytest.raises(ledger.IdempotencyConflict):
            work()
        return made.pk

    @rule(hold_id=holds, produced=st.integers(0, 70))
    def settle(self, hold_id, produced):
        hold = self.model_holds.get(hold_id)
        if hold is None:
            return
        if produced > hold.most:
            with pytest.raises(ValueError, match="the hold covers"):
                ledger.settle(hold_id=hold_id, completion_tokens=produced)
            return
        charge = hold.prompt * PROMPT_PRICE + produced * COMPLETION_PRICE
        if hold.state != "active" and (hold.state, hold.charged) != ("settled", charge):
            with pytest.raises(ledger.HoldClosed):
                ledger.settle(hold_id=hold_id, completion_tokens=produced)
            return
        ledger.settle(hold_id=hold_id, completion_tokens=produced)
        if hold.state == "active":
            hold.state, hold.charged = "settled", charge
            hold.paid_by = self.model[hold.wallet].spend(charge)

    @rule(hold_id=holds)
    def release(self, hold_id):
        hold = self.model_holds.get(hold_id)
        if hold is None:
            return
        if hold.state == "settled":
            with pytest.raises(ledger.HoldClosed):
                ledger.release(hold_id=hold_id)
            return
        ledger.release(hold_id=hold_id)
        hold.state = "released"

    @rule(hold_id=holds, amount=amounts)
    def refund(self, hold_id, amount):
        hold = self.model_holds.get(hold_id)
        if hold is None:
            return
        inputs = {
            "hold_id": hold_id,
            "amount_microcredits": amount,
            "idempotency_key": f"machine-{next(numbers)}",
            "reason": "machine",
            "by": self.users[hold.wallet],
        }
        refundable = sum(part for _grant, part in hold.paid_by)
        if hold.state != "settled" or amount > refundable:
            with pytest.raises((ledger.HoldClosed, ledger.RefundTooLarge)):
                ledger.refund(**inputs)
            return
        ledger.refund(**inputs)
        ledger.refund(**inputs)
        for paid in reversed(hold.paid_by):
            part = min(paid[1], amount)
            paid[0].left += part
            paid[1] -= part
            amount -= part

    @rule(days=st.integers(1, 3))
    def days_pass(self, days):
        self.now += timedelta(days=days)

    @rule()
    def run_daily_tasks(self):
        ledger.expire_holds()
        for hold_id, state in Hold.objects.filter(pk__in=self.model_holds).values_list("pk", "state"):
            if state == "expired":
                assert self.model_holds[hold_id].state in ("active", "expired")
                self.model_holds[hold_id].state = "expired"
        ledger.expire_grants()
        for wallet in (0, 1):
            self.expire_in_model(wallet)

    @invariant()
    def every_wallet_is_as_predicted(self):
        for number, user in enumerate(getattr(self, "users", [])):
            user.wallet.refresh_from_db()
            assert user.wallet.balance_microcredits == self.model[number].balance
            assert user.wallet.held_microcredits == self.held(number)
            left = user.wallet.grants.order_by("pk").values_list("remaining_microcredits", flat=True)
            assert list(left) == [grant.left for grant in self.model[number].grants]

    def teardown(self):
        connection.check_constraints()
        self.clock.stop()


def expire_for_real(user):
    from django.db import transaction

    with transaction.atomic():
        expire_due_grants(ledger.lock_wallet(user=user))


def run(examples):
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
    assert [fault for fault in verify().faults if "still active" not in fault] == []


@pytest.mark.timeout(600)
def test_every_wallet_is_as_the_model_predicts(catalogue):
    run(int(os.environ.get("LEDGER_EXAMPLES", "200")))


@pytest.mark.thorough
@pytest.mark.timeout(7200)
def test_every_wallet_is_as_the_model_predicts_thoroughly(catalogue):
    run(5000)
