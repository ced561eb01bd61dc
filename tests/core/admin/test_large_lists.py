"""Large lists: what their search finds, what they do not count, and what they do not sort by."""

import pytest
from django.urls import reverse

from accounts.models import AuditEvent, User
from billing.models import LedgerEntry
from core.admin import large_lists
from core.admin.large_lists import find_people, values_of
from tests.billing.grants import spend
from tests.support.cast import UserFactory

pytestmark = pytest.mark.django_db
USERS, ENTRIES = reverse("admin:accounts_user_changelist"), reverse("admin:billing_ledgerentry_changelist")


@pytest.fixture
def boss(client, staff):
    client.force_login(staff)
    return client


def shown(client, path, **asked):
    return list(client.get(path, asked).context["cl"].result_list)


def test_a_person_is_found_by_the_beginning_of_the_address_the_number_and_a_name(boss, alice, bob):
    User.objects.filter(pk=alice.pk).update(first_name="Ada", last_name="Lovelace")
    for text in ("alice@example.com", "ALICE", "ali", str(alice.pk), "Ada", "love", " Lovelace "):
        assert shown(boss, USERS, q=text) == [alice], text
    for text in ("lice", "nobody@example.com", "9" * 30, "%", "=1"):
        assert shown(boss, USERS, q=text) == [], text


def test_what_belongs_to_a_person_is_found_by_the_person(boss, alice, charlie):
    own = set(LedgerEntry.objects.filter(wallet__user=alice))
    assert own
    for text in ("alice@", str(alice.pk)):
        found = set(shown(boss, ENTRIES, q=text))
        assert own <= found
        assert LedgerEntry.objects.filter(wallet__user=charlie).first() not in found - {
            entry for entry in found if str(entry.pk) == text
        }


def test_a_row_is_found_by_exactly_its_id_key_and_hold(boss, alice):
    hold = spend(alice, 10)
    entry = LedgerEntry.objects.get(hold=hold)
    for text in (str(hold.pk), hold.pk.hex, entry.idempotency_key):
        assert shown(boss, ENTRIES, q=text) == [entry], text
    assert shown(boss, ENTRIES, q=entry.idempotency_key[:-1]) == []


def test_an_address_means_some_people_at_most(db, monkeypatch):
    monkeypatch.setattr(large_lists, "MOST_PEOPLE", 2)
    made = [UserFactory.create(email=f"same{number}@example.com").pk for number in range(3)]
    assert len(find_people("same")) == 2
    assert set(find_people("same")) < set(made)


def test_the_url_chooses_no_order(boss, alice, bob, charlie):
    newest_first = shown(boss, USERS)
    assert newest_first[0].date_joined > newest_first[-1].date_joined
    for order in ("1", "-1", "2.-1", "x", "99"):
        assert shown(boss, USERS, o=order) == newest_first


def test_values_come_from_the_index_in_order(alice):
    assert values_of(AuditEvent, "action") == []
    for action in ("b", "a", "b"):
        AuditEvent.objects.create(actor=alice, action=action)
    assert values_of(AuditEvent, "action") == ["a", "b"]
