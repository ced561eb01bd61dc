"""A plain-Python model predicts every wallet through random sequences of all operations, retries included.

The model shares no code with the ledger: it keeps lists and adds integers. 200 examples of up to 50 steps run in
the suite, 5,000 with `pytest -m thorough` (`-n 2 --dist load` shares them between two processors).
"""

import os
from datetime import timedelta
from itertools import count
from unittest.mock import patch

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from billing import ledger
from billing.ledger.verification.checks import verify
from billing.models import Debt, EntryKind, Grant, GrantUse, Hold, LedgerEntry, TopUp, Wallet
from billing.topups.orders import StaleReading, complete_topup, set_disputed, set_refunded
from tests.billing.ledger.model import (
    CACHED_COMPLETION_PRICE,
    CACHED_PROMPT_PRICE,
    COMPLETION_PRICE,
    FIGURES,
    LEAST_TOKENS,
    PROMPT_PRICE,
    ModelGrant,
    ModelHold,
    ModelTopUp,
    ModelWallet,
    amounts,
    expire_for_real,
    one_call,
    tokens,
    wallets,
    way,
)
from tests.support.cast import UserFactory
from tests.support.databases.owner import as_owner

pytestmark = pytest.mark.usefixtures("ledger_alone")

numbers = count()
MOVED = (Wallet, LedgerEntry, Hold, Grant, GrantUse, TopUp, Debt)


class LedgerMachine(RuleBasedStateMachine):
    holds = Bundle("holds")
    are_tasks_due = False
    entries = Bundle("entries")
    topups = Bundle("topups")

    @initialize()
    def open_two_wallets(self):
        # Or the triggers go on with the plans they made for empty tables.
        as_owner(f"ANALYZE {', '.join(model._meta.db_table for model in MOVED)}")
        self.now = timezone.now()
        self.clock = patch("django.utils.timezone.now", lambda: self.now)
        self.clock.start()
        self.users = [UserFactory.create(email=f"machine{next(numbers)}@example.com") for _ in range(2)]
        self.model = [ModelWallet(), ModelWallet()]
        self.model_holds, self.model_topups = {}, {}

    def pay_debts_in_model(self, wallet):
        for debt in self.model[wallet].debts:
            part = min(debt[1], self.available(wallet))
            self.model[wallet].spend(part)
            debt[1] -= part

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
        days=st.sampled_from([None, 1, 2]),  # few, so that many expire together
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
        self.model[wallet].gain(amount, kind == EntryKind.TOP_UP, expires_at)
        self.pay_debts_in_model(wallet)
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
            model.gain(amount)
            self.pay_debts_in_model(wallet)
        else:
            model.spend(-amount)

    @rule(target=holds, wallet=wallets, prompt=tokens, most=st.one_of(tokens, st.just(10**6)), in_one_call=one_call)
    def hold(self, wallet, prompt, most, in_one_call):
        owes = self.model[wallet].owed > 0
        if not owes:
            self.expire_in_model(wallet)
        affordable = (self.available(wallet) - prompt * PROMPT_PRICE) // COMPLETION_PRICE
        reference = f"machine-{next(numbers)}"

        def work():
            with way(in_one_call):
                return ledger.hold(
                    user=self.users[wallet],
                    model_key="gemma-3-270m",
                    prompt_tokens=prompt,
                    max_completion_tokens=most,
                    reference=reference,
                )

        if owes:
            with pytest.raises(ledger.CreditsOwed):
                work()
            return None
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

    @rule(target=holds, wallet=wallets, prompt=tokens, produced=tokens)
    def charge_from_cache(self, wallet, prompt, produced):
        model = self.model[wallet]
        owes = model.owed > 0
        if not owes:
            self.expire_in_model(wallet)
        charge = prompt * CACHED_PROMPT_PRICE + produced * CACHED_COMPLETION_PRICE

        def work():
            return ledger.charge_from_cache(
                user=self.users[wallet],
                model_key="gemma-3-270m",
                prompt_tokens=prompt,
                completion_tokens=produced,
                reference=reference,
            )

        reference = f"machine-{next(numbers)}"
        if owes or charge > self.available(wallet):
            with pytest.raises(ledger.CreditsOwed if owes else ledger.InsufficientCredits):
                work()
            if not owes:
                expire_for_real(self.users[wallet])  # the refusal rolled it back
            return None
        made = work()
        paid_by = model.spend(charge)
        self.model_holds[made.pk] = ModelHold(
            wallet, prompt, produced, "settled", charge, paid_by, CACHED_PROMPT_PRICE, CACHED_COMPLETION_PRICE
        )
        with pytest.raises(ledger.IdempotencyConflict):
            work()
        return made.pk

    @rule(hold_id=holds, produced=st.integers(0, 70), in_one_call=one_call)
    def settle(self, hold_id, produced, in_one_call):
        hold = self.model_holds.get(hold_id)
        if hold is None:
            return
        with way(in_one_call):
            self.settle_one_way(hold_id, hold, produced)

    def settle_one_way(self, hold_id, hold, produced):
        if produced > hold.most:
            with pytest.raises(ValueError, match="the hold covers"):
                ledger.settle(hold_id=hold_id, completion_tokens=produced)
            return
        charge = hold.cost(produced)
        if hold.state != "active" and (hold.state, hold.charged) != ("settled", charge):
            with pytest.raises(ledger.HoldClosed):
                ledger.settle(hold_id=hold_id, completion_tokens=produced)
            return
        ledger.settle(hold_id=hold_id, completion_tokens=produced)
        if hold.state == "active":
            hold.state, hold.charged = "settled", charge
            hold.paid_by = self.model[hold.wallet].spend(charge)
            self.pay_debts_in_model(hold.wallet)

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
        if hold.state == "active":  # one that expired stays expired
            hold.state = "released"
            self.pay_debts_in_model(hold.wallet)

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
        self.pay_debts_in_model(hold.wallet)

    @rule(
        target=topups,
        wallet=wallets,
        minor=st.integers(1, 50),
        credits=st.integers(1, 20_000),
        bonus=st.integers(0, 3_000),
    )
    def buy(self, wallet, minor, credits, bonus):  # noqa: A002
        topup = TopUp.objects.create(
            user=self.users[wallet],
            provider="machine",
            amount_minor=minor,
            currency="usd",
            credits_microcredits=credits,
            bonus_microcredits=bonus,
            idempotency_key=f"machine-{next(numbers)}",
        )
        paid = {
            "topup_id": topup.pk,
            "provider": "machine",
            "amount_minor": minor,
            "currency": "usd",
            "payment_reference": f"machine-{next(numbers)}",
        }
        complete_topup(**paid)
        complete_topup(**paid)
        grants = [self.model[wallet].gain(credits, is_paid=True)]
        self.pay_debts_in_model(wallet)
        if bonus:
            grants.append(self.model[wallet].gain(bonus))
            self.pay_debts_in_model(wallet)
        self.model_topups[topup.pk] = ModelTopUp(wallet, minor, credits + bonus, grants)
        return topup.pk

    @rule(topup_id=topups, minor=st.integers(0, 60))
    def payment_is_refunded(self, topup_id, minor):
        topup = self.model_topups.get(topup_id)
        if topup is None:
            return
        told = {"topup_id": topup_id, "provider": "machine", "refunded_minor": minor, "reading": topup.readings}
        set_refunded(**told)
        with pytest.raises(StaleReading):
            set_refunded(**told)
        topup.readings += 1
        topup.refunded = min(minor, topup.minor)  # it falls when a bank sends a refund back
        self.take_back_in_model(topup_id)

    @rule(topup_id=topups, minor=st.sampled_from([0, 0, 10, 60]))
    def payment_is_disputed_or_the_dispute_is_won(self, topup_id, minor):
        topup = self.model_topups.get(topup_id)
        if topup is None:
            return
        for _ in range(2):
            set_disputed(topup_id=topup_id, provider="machine", disputed_minor=minor)
        topup.disputed = min(minor, topup.minor)
        self.take_back_in_model(topup_id)

    def take_back_in_model(self, topup_id):
        topup = self.model_topups[topup_id]
        model, change = self.model[topup.wallet], topup.next_change()
        if change > 0:
            taken = min(change, self.available(topup.wallet))
            model.spend(taken, own_first=topup.grants)
            model.debts.append([topup_id, change - taken])
            return
        for debt in model.debts:
            part = min(debt[1], -change) if debt[0] == topup_id else 0
            debt[1] -= part
            change += part
        if change < 0:
            model.gain(-change)
            self.pay_debts_in_model(topup.wallet)

    @rule(days=st.integers(1, 3))
    def days_pass(self, days):
        self.now += timedelta(days=days)
        self.are_tasks_due = True

    @precondition(lambda self: self.are_tasks_due)
    @rule()
    def run_daily_tasks(self):
        self.are_tasks_due = False
        ledger.expire_holds()
        for hold_id, state in Hold.objects.filter(pk__in=self.model_holds).values_list("pk", "state"):
            if state == "expired":
                assert self.model_holds[hold_id].state in ("active", "expired")
                self.model_holds[hold_id].state = "expired"
        ledger.expire_grants()
        for wallet in (0, 1):
            self.pay_debts_in_model(wallet)
            self.expire_in_model(wallet)

    @invariant()
    def every_wallet_is_as_predicted(self):
        users = [user.pk for user in getattr(self, "users", [])]
        with connection.cursor() as cursor:
            cursor.execute(FIGURES, [users])
            for number, figures in enumerate(cursor.fetchall()):
                model = self.model[number]
                left = [grant.left for grant in model.grants]
                assert figures == (model.balance, self.held(number), model.owed, left)

    def teardown(self):
        connection.check_constraints()
        self.clock.stop()


def run(examples):
    checks = list(HealthCheck)
    limits = settings(max_examples=examples, stateful_step_count=50, suppress_health_check=checks, database=None)
    run_state_machine_as_test(LedgerMachine, settings=limits)
    assert [fault for fault in verify().faults if "still active" not in fault] == []


@pytest.mark.timeout(600)
def test_every_wallet_is_as_the_model_predicts(catalogue):
    run(int(os.environ.get("LEDGER_EXAMPLES", "200")))


@pytest.mark.thorough
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(20))  # each one transaction: with the rows of many more, PostgreSQL gets slow
def test_every_wallet_is_as_the_model_predicts_thoroughly(catalogue, part):
    run(250)
