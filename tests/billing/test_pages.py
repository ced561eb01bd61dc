"""The credits pages show what the ledger says, to its owner alone."""

from django.urls import reverse

from billing import ledger
from tests.billing.test_ledger import open_hold


def test_the_overview_lists_every_movement(client, alice, django_assert_max_num_queries):
    for _ in range(3):
        ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=3)
    client.force_login(alice)
    with django_assert_max_num_queries(6):
        page = client.get(reverse("billing:overview")).content.decode()
    assert page.count("-0.00032") == 3
    assert "99.99904" in page


def test_a_receipt_is_tokens_times_prices(client, alice):
    hold = ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=42)
    client.force_login(alice)
    page = client.get(reverse("billing:receipt", args=[hold.pk])).content.decode()
    assert '<td class="amount" id="charged">0.00188</td>' in page
    assert hold.entries.get().pk is not None


def test_charlie_gets_404_for_a_receipt_of_alice(client, alice, charlie):
    hold = open_hold(alice)
    client.force_login(charlie)
    assert client.get(reverse("billing:receipt", args=[hold.pk])).status_code == 404


def test_nobody_sees_credits_without_log_in(client, db):
    assert client.get(reverse("billing:overview")).status_code == 302
