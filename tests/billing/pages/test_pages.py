"""The credits pages show what the ledger says, to its owner alone."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format

from billing import ledger
from billing.ledger.caps import set_cap
from billing.reporting.charts import LOOKS
from tests.billing.grants import give
from tests.billing.holds import charge_from_cache, open_hold
from tests.support.cast import fund


def test_the_overview_lists_every_movement(client, alice, django_assert_max_num_queries):
    for _ in range(3):
        ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=3)
    client.force_login(alice)
    with django_assert_max_num_queries(10):
        page = client.get(reverse("billing:overview")).content.decode()
    assert page.count("-0.00032") == 3
    assert "99.99904" in page


def test_the_overview_says_what_the_cap_leaves_and_what_expires(client, alice, django_assert_max_num_queries):
    client.force_login(alice)
    page = client.get(reverse("billing:overview")).content.decode()
    assert "Set a cap" in page
    assert "What you have stays yours." in page
    set_cap(user=alice, cap_microcredits=2_000_000_000)
    ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=3)
    give(alice, 7_001_999, expires_in=timedelta(days=3))
    with django_assert_max_num_queries(12):
        page = client.get(reverse("billing:overview")).content.decode()
    assert "0.00 of 2,000" in page
    assert '<progress max="2000000000" value="320"' in " ".join(page.split())
    assert f"7.00 on {date_format(timezone.now() + timedelta(days=3), 'j M Y')}" in page


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


def test_a_receipt_leads_to_who_pays_and_prints_with_its_owner(client, alice, django_assert_num_queries):
    hold = ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=42)
    client.force_login(alice)
    with django_assert_num_queries(6):
        page = client.get(reverse("billing:receipt", args=[hold.pk])).content.decode()
    assert reverse("billing:who_pays") in page
    paper = page.split('class="paper')[1]
    assert "alice@example.com" in paper
    assert f"T-{hold.created_at:%Y}-{hold.entries.get().pk:06d}" in paper


def test_a_receipt_names_the_seller_that_the_operator_set(client, alice, settings):
    settings.SELLER = "Tally Ltd\n1 Sample Street"
    hold = ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=42)
    client.force_login(alice)
    page = client.get(reverse("billing:receipt", args=[hold.pk])).content.decode()
    assert "Tally Ltd<br>1 Sample Street" in page


def test_a_receipt_shows_what_was_refunded_and_the_net(client, alice, staff, django_assert_num_queries):
    hold = ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=42)
    client.force_login(alice)
    url = reverse("billing:receipt", args=[hold.pk])
    assert "Refund" not in client.get(url).content.decode()
    for key, amount in (("a", 80), ("b", 500)):
        ledger.refund(hold_id=hold.pk, amount_microcredits=amount, idempotency_key=key, reason=f"why {key}", by=staff)
    with django_assert_num_queries(6):
        page = client.get(url).content.decode()
    assert '<td class="amount" id="charged">0.00188</td>' in page
    assert '<td class="amount plus" id="refunded">-0.00058</td>' in page
    assert '<td class="amount" id="net">0.0013</td>' in page
    assert "why a" in page
    assert "why b" in page


def test_a_receipt_links_to_its_ledger_entries_wherever_they_are(client, alice, staff):
    hold = ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=42)
    refund = ledger.refund(hold_id=hold.pk, amount_microcredits=80, idempotency_key="r", reason="bad", by=staff)
    for number in range(60):
        fund(alice, 1, key=f"later {number}")
    client.force_login(alice)
    page = client.get(reverse("billing:receipt", args=[hold.pk])).content.decode()
    links = re.findall(r'href="(/credits/\?entry=[^"]+)"', page)
    usage = hold.entries.get(kind="usage")
    assert links == [f"/credits/?entry={entry.pk}#entry-{entry.pk}" for entry in (usage, refund)]
    for link in links:
        row = link.partition("#")[2]
        shown = client.get(link).content.decode()
        assert f'<tr id="{row}">' in shown
        assert "2 / 2" in shown
    assert "tr:target" in (Path(__file__).parents[3] / "static/tally.css").read_text()


@pytest.mark.parametrize("entry", ["", "0", "nonsense", "-1", "²", "9" * 18, "9" * 40, "\x00"])
def test_an_entry_that_is_none_of_theirs_shows_a_page_of_their_own(client, alice, charlie, entry):
    client.force_login(charlie)
    response = client.get(reverse("billing:overview"), {"entry": entry or str(alice.wallet.entries.get().pk)})
    assert response.status_code == 200
    assert [shown.wallet_id for shown in response.context["page"]] == [charlie.wallet.pk]


def test_a_receipt_says_what_limited_the_answer(client, bob):
    fund(bob, 10 * 20 + 50 * 40)
    hold = open_hold(bob, 10, 100)
    client.force_login(bob)
    page = client.get(reverse("billing:receipt", args=[hold.pk])).content.decode()
    assert "at most 50 out, limited by your balance" in page


def test_a_receipt_of_a_released_hold_says_nothing_was_charged(client, alice):
    hold = ledger.release(hold_id=open_hold(alice).pk)
    client.force_login(alice)
    page = client.get(reverse("billing:receipt", args=[hold.pk])).content.decode()
    assert "Nothing was charged" in page
    assert 'id="charged"' not in page


def test_a_receipt_of_an_answer_from_the_cache_says_so(client, alice):
    client.force_login(alice)
    cached, generated = charge_from_cache(alice), ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=3)
    said = [client.get(reverse("billing:receipt", args=[hold.pk])).content.decode() for hold in (cached, generated)]
    assert ["From the cache" in page for page in said] == [True, False]
    assert '<td class="amount" id="charged">0.000032</td>' in said[0]


def test_anybody_reads_who_pays_for_what(client, db, django_assert_num_queries):
    with django_assert_num_queries(0):
        response = client.get(reverse("billing:who_pays"))
    page = response.content.decode()
    assert response.status_code == 200
    assert page.count('<th scope="row">') == 10
    assert "The cache price: 10 % of the price of each token" in page
    assert reverse("account_login") in page
    assert reverse("account_logout") not in page
    assert 'class="tabs' not in page


def test_a_customer_reads_who_pays_among_their_pages(client, alice, django_assert_num_queries):
    client.force_login(alice)
    with django_assert_num_queries(4):
        page = client.get(reverse("billing:who_pays")).content.decode()
    tabs = page.split('class="tabs')[1].split("</nav>")[0]
    links = dict(re.findall(r'href="([^"]+)"\s*(aria-current="page")?', tabs))
    assert {reverse("billing:overview"), reverse("billing:usage")} < set(links)
    assert [url for url, current in links.items() if current] == [reverse("billing:who_pays")]


@pytest.mark.parametrize("name", ["overview", "usage", "who_pays"])
def test_credits_pages_need_no_inline_style_or_script(client, alice, name):
    ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=3)
    client.force_login(alice)
    page = client.get(reverse(f"billing:{name}")).content.decode()
    assert " style=" not in page
    assert "<style" not in page
    assert not re.search(r"<script(?![^>]*src=)", page)
    assert not re.search(r"\son\w+=", page)


def test_the_usage_chart_draws_only_looks_that_exist():
    root = Path(__file__).parents[3]
    drawn = (root / "templates/billing/reporting/_chart.html").read_text()
    styled = (root / "static/tally.css").read_text()
    for look in range(LOOKS):
        assert f'<pattern id="look-{look}"' in drawn
        assert f".look-{look} {{" in styled


@pytest.mark.parametrize("method", ["post", "put", "delete"])
@pytest.mark.parametrize("name", ["overview", "usage", "who_pays", "export_csv", "export_json"])
def test_credits_pages_only_read(client, alice, name, method):
    client.force_login(alice)
    assert getattr(client, method)(reverse(f"billing:{name}")).status_code == 405
