"""Who has an account is told by no door, and what is no address is refused at all of them."""

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.urls import reverse

from accounts.models import User

GOOD = "a-Long-passphrase-1"
LABEL = "d" * 60
LONG = f"{'a' * 60}@{'.'.join([LABEL] * 4)}.example.com"  # well formed, and longer than 254
WRONG = [LONG[:265].rstrip("."), "nobody", "nobody.example.com", "two@signs@example.com"]


@pytest.fixture
def hashes(monkeypatch):
    """How often a password was hashed."""
    from django.contrib.auth import hashers

    made = []
    encode = hashers.MD5PasswordHasher.encode
    monkeypatch.setattr(hashers.MD5PasswordHasher, "encode", lambda self, *args: made.append(1) or encode(self, *args))
    return made


def sign_up_on_the_page(client, email):
    return client.post(reverse("account_signup"), {"email": email, "password1": GOOD, "password2": GOOD})


def sign_up_by_the_api(client, email):
    body = {"email": email, "password": GOOD}
    return client.post("/api/v1/auth/register", body, content_type="application/json")


@pytest.mark.parametrize("sign_up", [sign_up_on_the_page, sign_up_by_the_api])
def test_signing_up_works_as_hard_for_an_address_that_has_an_account(client, alice, hashes, sign_up):
    sign_up(client, "new@example.com")
    for_a_new_one = len(hashes)
    hashes.clear()
    sign_up(client, "alice@example.com")
    assert len(hashes) == for_a_new_one == 1


def test_the_long_address_is_one_but_for_its_length():
    assert len(LONG) > 254
    with pytest.raises(ValidationError, match="254"):
        User._meta.get_field("email").clean(LONG, None)


@pytest.mark.parametrize("wrong", WRONG)
def test_the_page_refuses_what_is_no_address(client, db, wrong):
    page = sign_up_on_the_page(client, wrong)
    assert page.status_code == 200
    assert page.context["form"].errors["email"]
    assert User.objects.count() == 0


@pytest.mark.parametrize("wrong", WRONG)
def test_the_api_refuses_what_is_no_address(client, db, wrong):
    answer = sign_up_by_the_api(client, wrong)
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["email"])
    assert User.objects.count() == 0


@pytest.mark.parametrize("wrong", WRONG)
def test_the_command_refuses_what_is_no_address(db, wrong):
    with pytest.raises(CommandError):
        call_command("createsuperuser", interactive=False, email=wrong)
    assert User.objects.count() == 0


@pytest.mark.parametrize("wrong", WRONG)
def test_the_administration_refuses_what_is_no_address(client, staff, wrong):
    client.force_login(staff)
    fields = {"email": wrong, "password1": GOOD, "password2": GOOD, "usable_password": "true"}
    page = client.post(reverse("admin:accounts_user_add"), fields)
    assert page.status_code == 200
    assert page.context["adminform"].form.errors["email"]
    assert list(User.objects.all()) == [staff]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_further_address_is_one(client, alice, settings, wrong):
    settings.ACCOUNT_REAUTHENTICATION_REQUIRED = False
    client.force_login(alice)
    page = client.post(reverse("account_email"), {"action_add": "", "email": wrong})
    assert page.context["form"].errors["email"]
    assert alice.emailaddress_set.count() == 1


@pytest.mark.parametrize("wrong", ["", "nobody", LONG])
def test_no_code_makes_a_user_without_an_address(db, wrong):
    with pytest.raises(ValidationError):
        User.objects.create_user(wrong, GOOD)


def test_the_database_refuses_an_address_without_an_at(alice):
    for wrong in ("nobody", "@example.com", "alice@", "a@b@c"):
        with pytest.raises(IntegrityError), transaction.atomic():
            User.objects.filter(pk=alice.pk).update(email=wrong)
