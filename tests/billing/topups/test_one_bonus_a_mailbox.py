"""One sign-up bonus a mailbox, however its address is written, and after its account was closed too."""

import re

import pytest
from allauth.account.models import EmailAddress
from django.urls import reverse

from accounts.models import User
from billing import ledger
from billing.closing import close_account, plan_closing
from billing.models import LedgerEntry, PromotionCode
from billing.topups.promotions import InvalidCode, redeem_code
from tests.support.cast import CREDIT
from tests.support.databases.redis_admin import admin
from tests.support.mailbox import read_mails

pytestmark = pytest.mark.usefixtures("without_answers")

PASSPHRASE = "a-Long-passphrase-1"
OVERVIEW = "/credits/"


@pytest.fixture
def sign_up(client, catalogue):
    """Sign somebody up with an address, and follow the link that is mailed."""

    def make(email):
        client.logout()
        admin().flushdb()  # one address gets one link in three minutes
        client.post(reverse("account_signup"), {"email": email, "password1": PASSPHRASE, "password2": PASSPHRASE})
        client.post(re.search(r"https?://[^/]+(\S+)", str(read_mails()[-1].body)).group(1))
        return User.objects.get(email=email)

    return make


@pytest.fixture
def close():
    """Close somebody's account as they would."""

    def end(user):
        close_account(user=user, forfeits_microcredits=plan_closing(user=user).forfeits_microcredits)

    return end


def bonuses():
    return LedgerEntry.objects.filter(reason="sign-up bonus").count()


def balance(user):
    return ledger.open_wallet(user=user).balance_microcredits


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ann@example.com", "ann+1@example.com"),
        ("ann+1@example.com", "ann+2@example.com"),
        ("annlee@gmail.com", "ann.lee@gmail.com"),
        ("annlee@gmail.com", "a.nn.lee+shop@googlemail.com"),
        ("ann-1@yahoo.com", "ann-2@yahoo.com"),
    ],
)
def test_another_spelling_of_a_mailbox_signs_up_and_gets_no_bonus(sign_up, client, settings, faults, first, second):
    assert balance(sign_up(first)) == settings.SIGNUP_BONUS_MICROCREDITS
    assert balance(sign_up(second)) == 0
    assert client.get(reverse("billing:overview")).status_code == 200  # logged in by the second account
    page = client.get(OVERVIEW).content.decode()
    assert "Nothing has moved yet" in page
    assert "bonus" not in page.split('id="history"')[0]  # among the filters it is a kind of movement
    assert bonuses() == 1
    assert faults() == []


def test_another_mailbox_gets_its_own_bonus(sign_up, settings):
    for email in ("ann@example.com", "ann@example.net", "an.n@example.com", "ann-1@example.com"):
        assert balance(sign_up(email)) == settings.SIGNUP_BONUS_MICROCREDITS


def test_an_account_that_is_closed_and_opened_again_gets_no_second_bonus(sign_up, close, faults):
    close(sign_up("ann@example.com"))
    assert balance(sign_up("ann@example.com")) == 0
    close(User.objects.get(email="ann@example.com"))
    assert balance(sign_up("ann+again@example.com")) == 0
    assert bonuses() == 1
    assert faults() == []


def test_an_address_that_was_added_to_an_account_with_the_bonus_brings_no_other(sign_up, close):
    ann = sign_up("ann@example.com")
    EmailAddress.objects.create(user=ann, email="ann@example.net", verified=True, primary=False)
    close(ann)
    assert balance(sign_up("ann@example.net")) == 0
    assert bonuses() == 1


def test_who_closed_an_account_is_no_new_customer_for_a_code_for_new_customers(sign_up, close):
    code = PromotionCode.objects.create(
        code="WELCOME", credits_microcredits=CREDIT, most_redemptions=9, is_for_new_users=True
    )
    ann = sign_up("ann@example.com")
    redeem_code(user=ann, text=code.code)
    close(ann)
    for email in ("ann@example.com", "ann+1@example.com"):
        with pytest.raises(InvalidCode, match="new customers"):
            redeem_code(user=sign_up(email), text=code.code)
    redeem_code(user=sign_up("bea@example.com"), text=code.code)
    code.refresh_from_db()
    assert code.redemptions_count == 2
