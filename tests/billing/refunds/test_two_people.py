"""What one person of the staff may move alone in a day, by refunds, adjustments and codes; nothing for themselves."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEvent
from accounts.staff.roles import FINANCE, SUPPORT
from billing import adjustments, ledger
from billing.adjustments import AdjustmentRefused
from billing.approvals import OwnWallet
from billing.models import Adjustment, LedgerEntry, PromotionCode, Refund, Wallet
from billing.refunds import requests
from billing.topups import promotions
from billing.topups.promotions import ApprovalRefused, CodeTerms, InvalidCode
from tests.billing.grants import spend
from tests.billing.orders import complete, order
from tests.billing.refunds.adjusting import DONE, WAITING, adjust
from tests.support.cast import CREDIT, UserFactory, at_once, fund


@pytest.fixture
def member(catalogue):
    """Call it for somebody who works here."""

    def make(name, role=FINANCE):
        user = UserFactory.create(email=f"{name}@example.com", is_staff=True)
        user.groups.add(Group.objects.get(name=role))
        return user

    return make


@pytest.fixture
def fred(member):
    return member("fred")


@pytest.fixture
def gina(member):
    return member("gina")


@pytest.fixture
def paid(bob, settings):
    return paid_by(bob, settings)


def paid_by(user, settings):
    """A payment of 25.00, worth 2,500 credits."""
    settings.PAYMENT_PROVIDERS = {"sandbox": "billing.topups.sandbox.SandboxProvider"}
    topup = order(user, 2500, provider="sandbox")
    complete(topup, provider="sandbox")
    topup.refresh_from_db()
    return topup


def balance(user):
    return Wallet.objects.get(user=user).balance_microcredits


def ask(by, amount, **target):
    return requests.request_refund(by=by, amount=amount, reason="Asked for", idempotency_key=str(uuid4()), **target)


def make_code(by, worth_credits, code="CODE", most_redemptions=1, **fields):
    return promotions.create_code(
        code=code, credits_microcredits=worth_credits * CREDIT, most_redemptions=most_redemptions, by=by, **fields
    )


# The sums


def test_refunds_of_one_payment_in_parts_need_what_their_sum_needs(fred, paid, faults):
    assert [ask(fred, amount, topup=paid).state for amount in (1000, 1, 499)] == [DONE, WAITING, WAITING]
    paid.refresh_from_db()
    assert paid.refunded_minor == 1000
    assert faults() == []


def test_an_adjustment_above_the_limit_waits_and_moves_nothing(fred, gina, alice, faults):
    adjustment = adjust(fred, alice, 9_000_000)
    assert (adjustment.state, adjustment.entry, balance(alice)) == (WAITING, None, 100 * CREDIT)
    with pytest.raises(AdjustmentRefused, match="you asked"):
        adjustments.decide_adjustment(adjustment=adjustment, by=fred, is_approved=True)
    done = adjustments.decide_adjustment(adjustment=adjustment, by=gina, is_approved=True)
    assert (done.state, done.entry.created_by, balance(alice)) == (DONE, gina, 9_000_100 * CREDIT)
    with pytest.raises(AdjustmentRefused, match="decided already"):
        adjustments.decide_adjustment(adjustment=adjustment, by=gina, is_approved=False)
    noted = AuditEvent.objects.filter(subject=alice).order_by("pk").values_list("action", "actor__email")
    assert list(noted) == [("adjustment requested", "fred@example.com"), ("credits adjusted", "gina@example.com")]
    assert faults() == []


def test_a_rejected_adjustment_moves_nothing(fred, gina, alice):
    adjustment = adjust(fred, alice, 1001)
    assert adjustments.decide_adjustment(adjustment=adjustment, by=gina, is_approved=False).state == "rejected"
    assert (balance(alice), LedgerEntry.objects.filter(kind="adjustment").count()) == (100 * CREDIT, 0)
    assert AuditEvent.objects.filter(action="adjustment rejected", actor=gina, subject=alice).exists()


@pytest.mark.parametrize("way", [1, -1])
def test_a_persons_adjustments_are_a_sum_over_customers_and_ways(fred, gina, alice, charlie, way):
    assert adjust(fred, alice, 950).state == DONE
    assert adjust(fred, charlie, 51 * way).state == WAITING
    assert adjust(fred, charlie, 50 * way).state == DONE
    assert adjust(fred, charlie, 1).state == WAITING
    assert adjust(gina, charlie, 1).state == DONE  # a person of her own


def test_a_customers_sum_is_over_everybody_who_gave(fred, gina, alice):
    assert adjust(fred, alice, 600).state == DONE
    assert adjust(gina, alice, 401).state == WAITING
    assert adjust(gina, alice, 400).state == DONE


def test_refunds_adjustments_and_codes_count_together(fred, gina, member, bob, alice, paid, settings):
    assert ask(fred, 400, topup=paid).state == DONE
    assert adjust(fred, alice, 300).state == DONE
    make_code(fred, 100, most_redemptions=2)
    assert adjust(fred, alice, 101).state == WAITING
    assert make_code(fred, 101, code="MORE").is_waiting
    assert ask(fred, 101, topup=paid).state == WAITING
    # and for bob, whoever gives
    assert not make_code(gina, 500, code="GIFT").is_waiting
    promotions.redeem_code(user=bob, text="GIFT")
    assert adjust(member("hugo"), bob, 101).state == WAITING
    assert adjust(member("ida"), bob, 100).state == DONE


def test_refunds_of_answers_count_too(fred, alice, settings):
    settings.REFUND_APPROVAL_MICROCREDITS = 500
    first, second = spend(alice, 10), spend(alice, 10)
    assert [ask(fred, 420, hold=first).state, ask(fred, 81, hold=second).state] == [DONE, WAITING]
    assert adjustments_of(fred, alice, 81) == WAITING
    assert adjustments_of(fred, alice, 80) == DONE


def adjustments_of(by, user, microcredits):
    return adjustments.adjust_credits(
        user=user, amount_microcredits=microcredits, idempotency_key=str(uuid4()), reason="A test", by=by
    ).state


def test_what_was_moved_yesterday_counts_no_more(fred, alice, charlie):
    adjust(fred, alice, 1000)
    Adjustment.objects.update(decided_at=timezone.now() - timedelta(hours=23, minutes=59))
    assert adjust(fred, charlie, 1).state == WAITING
    Adjustment.objects.filter(state=DONE).update(decided_at=timezone.now() - timedelta(hours=24, seconds=1))
    assert adjust(fred, charlie, 1000).state == DONE


def test_what_a_second_person_approved_or_rejected_counts_no_more(fred, gina, alice, paid):
    adjustments.decide_adjustment(adjustment=adjust(fred, alice, 5000), by=gina, is_approved=True)
    requests.decide_refund(refund=ask(fred, 2000, topup=paid), by=gina, is_approved=False)
    assert adjust(fred, alice, 1000).state == DONE
    assert adjust(gina, alice, 1).state == WAITING  # alice's thousand are given


def test_what_support_asks_for_waits_whatever_it_comes_to(member, alice):
    assert ask(member("sue", SUPPORT), 1, hold=spend(alice, 10)).state == WAITING


# Nobody for themselves


def test_nobody_adjusts_their_own_wallet(client, fred, faults):
    with pytest.raises(OwnWallet, match="your own account"):
        adjust(fred, fred, 1)
    client.force_login(fred)
    url = reverse("admin:billing_wallet_adjust", args=[fred.wallet.pk])
    for confirmed in ("", "true"):
        sent = {"credits": "1", "reason": "Duplicate", "idempotency_key": uuid4(), "confirmed": confirmed}
        assert "your own account" in client.post(url, sent).content.decode()
    assert not LedgerEntry.objects.filter(kind="adjustment").exists()
    assert faults() == []


def test_a_superuser_is_no_exception(staff, fred):
    with pytest.raises(OwnWallet):
        adjust(staff, staff, 1)
    assert adjust(staff, fred, 1001).state == WAITING


def test_nobody_refunds_their_own_answer_or_payment(client, member, fred, settings):
    mine = paid_by(fred, settings)
    answer = spend(fred, 10)
    for target in ({"topup": mine}, {"hold": answer}):
        with pytest.raises(OwnWallet):
            ask(fred, 1, **target)
    client.force_login(fred)
    url = reverse("admin:billing_topup_refund", args=[mine.pk])
    for confirmed in ("", "true"):
        sent = {"amount": "1.00", "reason": "Duplicate", "idempotency_key": uuid4(), "confirmed": confirmed}
        assert "your own account" in client.post(url, sent).content.decode()
    sue = member("sue", SUPPORT)
    with pytest.raises(OwnWallet):
        ask(sue, 1, hold=paid_answer(sue))
    assert Refund.objects.count() == 0


def paid_answer(user):
    fund(user, CREDIT, key=str(uuid4()))
    return spend(user, 10)


def test_nobody_decides_on_what_they_get(client, member, fred, gina):
    refund = ask(member("sue", SUPPORT), 1, hold=paid_answer(gina))
    adjustment = adjust(fred, gina, 5000)
    for is_approved in (True, False):
        with pytest.raises(OwnWallet):
            requests.decide_refund(refund=refund, by=gina, is_approved=is_approved)
        with pytest.raises(OwnWallet):
            adjustments.decide_adjustment(adjustment=adjustment, by=gina, is_approved=is_approved)
    client.force_login(gina)
    for name, row in (("refund", refund), ("adjustment", adjustment)):
        action = {"action": "approve", "_selected_action": [str(row.pk)]}
        page = client.post(reverse(f"admin:billing_{name}_changelist"), action, follow=True)
        assert "your own account" in page.content.decode()
        row.refresh_from_db()
        assert row.state == WAITING


def test_nobody_redeems_what_they_made_or_approved(fred, gina, alice):
    make_code(fred, 5, most_redemptions=9)
    big = make_code(fred, 5000, code="BIG")
    promotions.approve_code(code=big, by=gina)
    for user, text in ((fred, "CODE"), (fred, "BIG"), (gina, "BIG")):
        with pytest.raises(InvalidCode, match="for customers"):
            promotions.redeem_code(user=user, text=text)
    promotions.redeem_code(user=gina, text="CODE")
    promotions.redeem_code(user=alice, text="BIG")
    assert [balance(user) for user in (fred, gina, alice)] == [0, 5 * CREDIT, 5100 * CREDIT]


# Codes


@pytest.mark.parametrize("most", [201, None])
def test_a_code_worth_more_than_the_limit_waits(fred, gina, alice, most):
    code = make_code(fred, 5, most_redemptions=most)
    assert code.is_waiting
    with pytest.raises(InvalidCode, match="not valid now"):
        promotions.redeem_code(user=alice, text="CODE")
    with pytest.raises(ApprovalRefused, match="you made"):
        promotions.approve_code(code=code, by=fred)
    assert promotions.approve_code(code=code, by=gina).approved_by == gina
    promotions.redeem_code(user=alice, text="CODE")
    assert balance(alice) == 105 * CREDIT
    with pytest.raises(ApprovalRefused, match="does not wait"):
        promotions.approve_code(code=code, by=gina)
    assert AuditEvent.objects.get(action="code approved").actor == gina


def test_a_stock_waits_as_a_whole_and_is_approved_as_a_whole(fred, gina, alice):
    terms = CodeTerms(credits_microcredits=5 * CREDIT, batch="fair")
    made = promotions.generate_codes(terms=terms, count=201, by=fred)
    assert promotions.generate_codes(terms=terms, count=201, by=fred)[0].pk == made[0].pk  # a double click
    with pytest.raises(InvalidCode):
        promotions.redeem_code(user=alice, text=made[7].code)
    promotions.approve_code(code=made[0], by=gina)
    assert not PromotionCode.objects.filter(is_waiting=True).exists()
    promotions.redeem_code(user=alice, text=made[7].code)


def test_small_codes_for_one_customer_end_at_the_limit_of_a_day(member, alice):
    for number in range(3):
        make_code(member(f"maker{number}"), 400, code=f"CODE{number}")
    for number in range(2):
        promotions.redeem_code(user=alice, text=f"CODE{number}")
    with pytest.raises(InvalidCode, match="tomorrow"):
        promotions.redeem_code(user=alice, text="CODE2")
    assert balance(alice) == 900 * CREDIT


def test_the_database_wants_another_person_and_an_entry(fred, alice):
    code, adjustment = make_code(fred, 5), adjust(fred, alice, 5000)
    for attack in (
        lambda: PromotionCode.objects.filter(pk=code.pk).update(approved_by=fred),
        lambda: Adjustment.objects.filter(pk=adjustment.pk).update(state=DONE),
        lambda: Adjustment.objects.filter(pk=adjustment.pk).update(state="rejected"),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            attack()


# At the same moment


@pytest.mark.django_db(transaction=True)
def test_one_person_at_six_customers_at_once_stays_within_the_limit(fred, catalogue, faults):
    users = [UserFactory.create() for _ in range(6)]
    states = [made.state for made in at_once(6, lambda n: adjust(fred, users[n], 300))]
    assert sorted(states) == [DONE] * 3 + [WAITING] * 3
    assert faults() == []


@pytest.mark.django_db(transaction=True)
def test_six_persons_at_one_customer_at_once_stay_within_the_limit(member, alice, paid, faults):
    people = [member(f"person{number}") for number in range(6)]

    def give(number):
        return ask(people[number], 300, topup=paid) if number % 2 else adjust(people[number], paid.user, 300)

    states = [made.state for made in at_once(6, give)]
    assert sorted(states) == [DONE] * 3 + [WAITING] * 3
    assert faults() == []


@pytest.mark.django_db(transaction=True)
def test_an_adjustment_and_a_code_at_once_stay_within_the_limit(fred, alice):
    made = at_once(4, lambda n: adjust(fred, alice, 600) if n % 2 else make_code(fred, 600, code=f"CODE{n}"))
    waiting = [one.state == WAITING if isinstance(one, Adjustment) else one.is_waiting for one in made]
    assert sorted(waiting) == [False, True, True, True]


@pytest.mark.django_db(transaction=True)
def test_two_people_approving_at_once_move_it_once(fred, member, alice, faults):
    people = [member(f"person{number}") for number in range(4)]
    adjustment = adjust(fred, alice, 5000)
    results = at_once(4, lambda n: adjustments.decide_adjustment(adjustment=adjustment, by=people[n], is_approved=True))
    assert sum(isinstance(result, AdjustmentRefused) for result in results) == 3
    assert balance(alice) == 5100 * CREDIT
    assert faults() == []


# The pages


def test_a_second_person_approves_an_adjustment_in_the_admin(client, fred, gina, alice, faults):
    client.force_login(fred)
    url = reverse("admin:billing_wallet_adjust", args=[alice.wallet.pk])
    sent = {"credits": "9000000", "reason": "Goodwill after an incident", "idempotency_key": uuid4()}
    assert "A second person must approve it first" in client.post(url, sent).content.decode()
    for _click in range(2):
        page = client.post(url, sent | {"confirmed": "true"}, follow=True)
        assert "Nothing was moved yet" in page.content.decode()
    adjustment = Adjustment.objects.get()
    action = {"action": "approve", "_selected_action": [str(adjustment.pk)]}
    page = client.post(reverse("admin:billing_adjustment_changelist"), action, follow=True)
    assert "you asked for this adjustment" in page.content.decode()
    assert balance(alice) == 100 * CREDIT
    client.force_login(gina)
    client.post(reverse("admin:billing_adjustment_changelist"), action)
    assert balance(alice) == 9_000_100 * CREDIT
    assert faults() == []


def test_what_an_adjustment_takes_must_still_be_there_when_it_is_approved(client, fred, gina, alice):
    adjustments.decide_adjustment(adjustment=adjust(fred, alice, 2000), by=gina, is_approved=True)
    with pytest.raises(ledger.InsufficientCredits):
        adjust(fred, alice, -2101)
    adjustment = adjust(fred, alice, -2100)
    ledger.adjust(user=alice, amount_microcredits=-CREDIT, idempotency_key="k", reason="spent", by=gina)
    client.force_login(gina)
    action = {"action": "approve", "_selected_action": [str(adjustment.pk)]}
    page = client.post(reverse("admin:billing_adjustment_changelist"), action, follow=True)
    assert "At most 2,099.00 credits can be taken" in page.content.decode()
    adjustment.refresh_from_db()
    assert (adjustment.state, balance(alice)) == (WAITING, 2099 * CREDIT)


def test_a_stock_is_approved_in_the_admin(client, fred, gina):
    client.force_login(fred)
    sent = {"batch": "fair", "credits": "5", "count": "201", "idempotency_key": uuid4()}
    url = reverse("admin:billing_promotioncode_generate")
    for confirmed in ("", "true"):
        page = client.post(url, sent | {"confirmed": confirmed}, follow=True)
        assert "A second person must approve it" in page.content.decode()
    action = {"action": "approve", "_selected_action": [PromotionCode.objects.first().pk]}
    page = client.post(reverse("admin:billing_promotioncode_changelist"), action, follow=True)
    assert "you made this code" in page.content.decode()
    client.force_login(gina)
    page = client.post(reverse("admin:billing_promotioncode_changelist"), action, follow=True)
    assert [str(message) for message in page.context["messages"]] == ["fair can be redeemed now."]
    assert not PromotionCode.objects.filter(is_waiting=True).exists()


def test_a_code_that_is_changed_in_the_admin_still_waits(client, fred):
    code = make_code(fred, 5000)
    client.force_login(fred)
    client.post(reverse("admin:billing_promotioncode_change", args=[code.pk]), {"is_active": "on", "is_waiting": ""})
    code.refresh_from_db()
    assert code.is_waiting


def test_a_double_click_counts_once_and_stays_what_it_was(fred, alice, paid):
    same = {"by": fred, "amount": 500, "reason": "Asked for", "idempotency_key": "k", "topup": paid}
    assert [requests.request_refund(**same).state for _click in range(2)] == [DONE, DONE]
    assert [adjust(fred, alice, 500, key="k").state for _click in range(2)] == [DONE, DONE]
    assert adjust(fred, alice, 1).state == WAITING
    with pytest.raises(ledger.IdempotencyConflict):
        adjust(fred, alice, 501, key="k")
