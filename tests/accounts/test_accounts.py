"""Sign-up, verification, log-in, reset: django-allauth as we configured it, and what billing adds."""

import re

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError
from django.urls import reverse

from tests.support.cast import PASSWORD
from tests.support.mailbox import read_mails

User = get_user_model()
SIGNUP = {"email": "New@Example.com", "password1": "a-Long-passphrase-1", "password2": "a-Long-passphrase-1"}


def link_in_last_mail():
    return re.search(r"https?://[^/]+(\S+)", str(read_mails()[-1].body)).group(1)


def test_sign_up_verifies_the_address_and_then_gives_the_bonus_once(client, catalogue, settings, faults):
    assert client.post(reverse("account_signup"), SIGNUP).status_code == 302
    user = User.objects.get(email="new@example.com")
    assert user.wallet.balance_microcredits == 0
    link = link_in_last_mail()
    assert client.get(reverse("billing:overview")).status_code == 302  # not before the address is verified
    for _ in range(2):
        client.post(link)
    user.wallet.refresh_from_db()
    assert user.wallet.balance_microcredits == settings.SIGNUP_BONUS_MICROCREDITS
    assert user.wallet.entries.get().kind == "bonus"
    assert client.get(reverse("billing:overview")).status_code == 200
    assert faults() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"email": "not an address"},
        {"password1": "short", "password2": "short"},
        {"password2": "something else entirely"},
        {"password1": "12345678901", "password2": "12345678901"},
    ],
)
def test_sign_up_refuses_bad_input(client, db, wrong):
    assert client.post(reverse("account_signup"), SIGNUP | wrong).status_code == 200
    assert User.objects.count() == 0


def test_an_address_is_one_account_in_any_case(db):
    User.objects.create_user("One@Example.com", PASSWORD)
    with pytest.raises(IntegrityError):
        User.objects.bulk_create([User(email="ONE@example.com")])


def test_log_in_and_out(client, alice):
    client.post(reverse("account_login"), {"login": "ALICE@example.com", "password": PASSWORD})
    assert client.get(reverse("billing:overview")).status_code == 200
    client.post(reverse("account_logout"))
    assert client.get(reverse("billing:overview")).status_code == 302


def test_a_wrong_password_and_a_suspended_user_stay_out(client, alice):
    client.post(reverse("account_login"), {"login": "alice@example.com", "password": "wrong"})
    assert client.get(reverse("billing:overview")).status_code == 302
    User.objects.filter(pk=alice.pk).update(is_active=False)
    client.post(reverse("account_login"), {"login": "alice@example.com", "password": PASSWORD})
    assert client.get(reverse("billing:overview")).status_code == 302


def test_a_forgotten_password_is_reset_by_mail(client, alice):
    client.post(reverse("account_reset_password"), {"email": "alice@example.com"})
    form = client.get(link_in_last_mail(), follow=True)
    new = "another-Long-passphrase-2"
    client.post(form.redirect_chain[-1][0], {"password1": new, "password2": new})
    client.post(reverse("account_login"), {"login": "alice@example.com", "password": new})
    assert client.get(reverse("billing:overview")).status_code == 200


def test_passwords_are_hashed_with_bcrypt(settings, db):
    from config.settings import base

    settings.PASSWORD_HASHERS = base.PASSWORD_HASHERS
    user = User.objects.create_user("hash@example.com", PASSWORD)
    assert user.password.startswith("bcrypt_sha256$")
    assert user.check_password(PASSWORD)


def test_demo_accounts_exist_under_development_settings_alone(catalogue, settings, capsys):
    from django.core.management import CommandError, call_command

    call_command("seed_demo", json=True)
    call_command("seed_demo", json=True)
    assert User.objects.count() == 3
    settings.DEMO = False
    with pytest.raises(CommandError):
        call_command("seed_demo")


@pytest.mark.parametrize("name", ["account_login", "account_signup", "account_reset_password"])
def test_the_doors_are_our_own_pages(client, db, name):
    page = client.get(reverse(name)).content.decode()
    assert 'class="door"' in page
    assert "tally.css" in page


@pytest.mark.parametrize(
    "model", ["accounts_user", "billing_wallet", "billing_ledgerentry", "billing_hold", "billing_price",
              "inference_cataloguemodel", "inference_generation", "chat_conversation"]
)  # fmt: skip
def test_staff_sees_every_table_in_the_admin(client, alice, staff, model):
    url = reverse(f"admin:{model}_changelist")
    client.force_login(alice)
    assert client.get(url).status_code == 302
    client.force_login(staff)
    assert client.get(url).status_code == 200


def test_staff_adds_a_price_version_and_cannot_edit_one(client, staff, catalogue):
    from billing.models import Price

    client.force_login(staff)
    price = Price.objects.first()
    assert client.post(reverse("admin:billing_price_change", args=[price.pk]), {}).status_code == 403
    fields = {
        "model_key": "gemma-3-1b",
        "prompt_microcredits_per_token": 5,
        "completion_microcredits_per_token": 6,
    }
    assert client.post(reverse("admin:billing_price_add"), fields).status_code == 302
    assert Price.objects.current("gemma-3-1b").created_by == staff
