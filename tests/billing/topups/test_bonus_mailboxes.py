"""Which mailbox an address leads to, and what is kept of the mailboxes that had the sign-up bonus."""

from importlib import import_module

import pytest
from allauth.account.models import EmailAddress
from django.apps import apps

from billing import ledger
from billing.closing import close_account, plan_closing
from billing.models import BonusMailbox, LedgerEntry
from billing.topups import bonus_mailboxes
from billing.topups.bonus_mailboxes import hash_mailbox, mailbox_of
from billing.topups.signup_bonus import give_signup_bonus
from tests.billing.ledger.attacks import refused
from tests.support.cast import UserFactory, at_once
from tests.support.databases.owner import as_owner

MIGRATION = import_module("billing.migrations.0021_bonus_mailboxes")


def give(email):
    """A new user with this address who asks for the bonus."""
    user = UserFactory.create(email=email)
    give_signup_bonus(user=user, email=email)
    return user


@pytest.mark.parametrize(
    ("address", "mailbox"),
    [
        ("Ann@Example.COM", "ann@example.com"),
        (" ann@example.com. ", "ann@example.com"),
        ("ann+tag+more@example.com", "ann@example.com"),
        ("+tag@example.com", "+tag@example.com"),
        ('"ann+tag"@example.com', "ann@example.com"),
        ("ann@MÜNCHEN.example", "ann@xn--mnchen-3ya.example"),
        ("ann@xn--mnchen-3ya.example", "ann@xn--mnchen-3ya.example"),
        ("a.n.n+tag@googlemail.com", "ann@gmail.com"),
        ("a.n-n_+tag@pm.me", "ann@proton.me"),
        ("Ann-news@yahoo.com", "ann@yahoo.com"),
        ("ann-news@ymail.com", "ann@ymail.com"),
        ("anna-lena@example.com", "anna-lena@example.com"),
        ("ann.lee@example.com", "ann.lee@example.com"),
        (f"ann@{'ü' * 70}.example", f"ann@{'ü' * 70}.example"),
    ],
)
def test_a_mailbox_has_many_spellings_and_one_name(address, mailbox):
    assert mailbox_of(address) == mailbox


def test_the_hash_has_a_key_of_its_own(settings):
    before = hash_mailbox("ann@example.com")
    settings.MAILBOX_SECRET, settings.SECRET_KEY = settings.SECRET_KEY, "another one, as long as is good for a key"
    assert hash_mailbox("ann+1@example.com") == before
    settings.MAILBOX_SECRET = ""
    assert hash_mailbox("ann@example.com") != before


@pytest.mark.django_db(transaction=True)
def test_of_two_sign_ups_at_once_one_gets_the_bonus(settings, faults):
    users = [UserFactory.create(email=f"ann+{number}@example.com") for number in range(4)]
    given = at_once(4, lambda number: give_signup_bonus(user=users[number], email=users[number].email))
    assert sum(entry is not None for entry in given) == 1
    assert LedgerEntry.objects.count() == BonusMailbox.objects.count() == 1
    assert faults() == []


def test_a_bonus_that_fails_leaves_the_mailbox_as_it_was(bob, monkeypatch):
    def fail(**_options):
        raise ledger.LedgerError("no")

    with monkeypatch.context() as broken:
        broken.setattr(ledger, "grant", fail)
        with pytest.raises(ledger.LedgerError):
            give_signup_bonus(user=bob, email=bob.email)
    assert not BonusMailbox.objects.exists()
    assert give_signup_bonus(user=bob, email=bob.email) is not None


def test_without_a_bonus_no_mailbox_is_kept(bob, settings):
    settings.SIGNUP_BONUS_MICROCREDITS = 0
    assert give_signup_bonus(user=bob, email=bob.email) is None
    assert not BonusMailbox.objects.exists()


def test_nothing_is_kept_beside_the_hash_and_nobody_takes_it_back(bob):
    give_signup_bonus(user=bob, email=bob.email)
    assert [field.name for field in BonusMailbox._meta.get_fields()] == ["mailbox_hash"]
    refused(lambda: BonusMailbox.objects.all().delete())
    refused(lambda: BonusMailbox.objects.update(mailbox_hash="0" * 64))
    assert BonusMailbox.objects.get().mailbox_hash == hash_mailbox("bob@example.com")


def test_the_migration_keeps_the_mailboxes_of_all_who_had_the_bonus(catalogue, monkeypatch, faults):
    monkeypatch.setattr(bonus_mailboxes, "CHUNK_ADDRESSES", 2)
    gone = give("gone@example.com")
    close_account(user=gone, forfeits_microcredits=plan_closing(user=gone).forfeits_microcredits)
    for number in range(5):
        give(f"customer{number}@example.com")
    UserFactory.create(email="nothing@example.com")
    EmailAddress.objects.create(user=give("two@example.com"), email="other@example.com", verified=True, primary=False)
    as_owner("DELETE FROM billing_bonusmailbox")
    assert "6 in all: had the sign-up bonus" in faults()[0]
    MIGRATION.keep_mailboxes(apps, None)
    MIGRATION.keep_mailboxes(apps, None)
    kept = {f"customer{number}@example.com" for number in range(5)} | {"two@example.com", "other@example.com"}
    assert set(BonusMailbox.objects.values_list("pk", flat=True)) == {hash_mailbox(email) for email in kept}
    assert faults() == []


def test_a_bonus_whose_mailbox_is_not_kept_is_a_fault(bob, faults):
    give_signup_bonus(user=bob, email=bob.email)
    assert faults() == []
    as_owner("DELETE FROM billing_bonusmailbox")
    [fault] = faults()
    assert fault.startswith(f"users [{bob.pk}], 1 in all: had the sign-up bonus, and their mailboxes may have it again")
    EmailAddress.objects.get(user=bob).save()
    assert faults() == []
