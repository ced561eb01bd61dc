"""A customer is found by what staff have at hand, by indexes alone; nothing else is looked up."""

import re
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.api_keys import create_key, rotate_key
from accounts.models import Scope
from backoffice.finding import find_customers
from billing.models import LedgerEntry, TopUp
from billing.refunds import requests
from billing.templatetags.receipts import receipt_number
from chat.models import Message
from tests.billing.orders import complete, order
from tests.support.cast import UserFactory, answered_talk
from tests.support.databases.owner import as_owner

pytestmark = pytest.mark.usefixtures("catalogue")


def sought(customer, catalogue, staff):
    """Everything by which a customer is found, by what it is."""
    talk = answered_talk(customer, catalogue)
    generation = Message.objects.get(conversation=talk, role="assistant").generation
    topup = order(customer, 500)
    complete(topup)
    TopUp.objects.filter(pk=topup.pk).update(checkout_reference="cs_test_a1b2c3")
    key, text = create_key(user=customer, name="k", scopes=[Scope.CHAT])
    replaced = key.prefix
    key, text = rotate_key(key=key, by=customer, overlap=timedelta(hours=1))
    entry = LedgerEntry.objects.get(idempotency_key=f"topup:{topup.pk}")
    refund = requests.request_refund(by=staff, amount=1, reason="A test", idempotency_key="k", hold=generation.hold)
    return {
        "address": customer.email,
        "address in capitals": customer.email.upper(),
        "start of an address": customer.email[:4],
        "user": str(customer.pk),
        "answer": str(generation.pk),
        "answer without dashes": generation.pk.hex,
        "answer as the API calls it": f"chatcmpl-{generation.pk.hex}",
        "hold": str(generation.hold_id),
        "refund": str(refund.pk),
        "order": str(topup.pk),
        "payment": f"payment-{topup.pk}",
        "start of a payment": f"payment-{str(topup.pk)[:8]}",
        "checkout": "cs_test_a1b2",
        "receipt": receipt_number(entry),
        "receipt, lower case": receipt_number(entry).lower(),
        "key": f"tly_{key.prefix}",
        "start of a key": f"tly_{key.prefix[:5]}",
        "whole key": text,
        "replaced key": f"tly_{replaced}",
        "with blanks": f"  {customer.email}  ",
    }


def test_each_of_these_finds_its_customer_and_nobody_else(alice, bob, charlie, catalogue, staff):
    found = {what: find_customers(text) for what, text in sought(alice, catalogue, staff).items()}
    assert {what: users for what, users in found.items() if users != [alice]} == {}


SHORT = [
    "",
    "  ",
    "a",
    "al",
    "tly_",
    "tly_abc",
    "T-1999-000001",
    "T-2026-0",
    "0",
    "%",
    "_",
    "%%%%%%%%",
    "\x00",
    "payme",
]
STRANGE = ["9" * 30, "_" * 14, str(UUID(int=7)), "nobody@example.com", "\u0661\u0662\u0663", "x" * 5000, "' OR 1=1 --"]


@pytest.mark.parametrize("text", [*SHORT, *STRANGE])
def test_nothing_is_found_by_this(alice, catalogue, staff, text):
    complete(order(alice, 500))
    assert find_customers(text) == []


def test_a_receipt_of_another_year_is_not_found(alice):
    entry = LedgerEntry.objects.latest("pk")
    number = receipt_number(entry)
    assert find_customers(number) == [alice]
    assert find_customers(number.replace(f"{entry.created_at:%Y}", "2019")) == []


def test_many_are_listed_up_to_a_limit(client, staff):
    for number in range(25):
        UserFactory.create(email=f"many{number}@example.com")
    assert len(find_customers("many")) == 20
    client.force_login(staff)
    page = client.get(reverse("admin:find"), {"q": "many"}).content.decode()
    assert page.count("many1") >= 10
    assert "There may be more" in page


def test_no_look_up_reads_a_whole_table(alice, catalogue, staff):
    """With tables this small PostgreSQL would read them, or any index, whole. Only a bitmap needs a condition."""
    texts = sought(alice, catalogue, staff)
    as_owner("DROP INDEX billing_topup_one_a_checkout, billing_topup_one_a_payment")  # as good here as the right ones
    with connection.cursor() as cursor:
        for kind in ("seqscan", "indexscan", "indexonlyscan"):
            cursor.execute(f"SET LOCAL enable_{kind} = off")
        plans = {}
        for what, text in texts.items():
            with CaptureQueriesContext(connection) as asked:
                find_customers(text)
            assert len(asked) <= 7, what
            for query in asked.captured_queries:
                cursor.execute(f"EXPLAIN {query['sql']}")
                plan = "\n".join(row[0] for row in cursor.fetchall())
                plans[f"{what}: {query['sql']}"] = plan
    assert {query: plan for query, plan in plans.items() if not is_by_index(plan)} == {}


def is_by_index(plan):
    """Whether every scan of the plan has a condition on an index."""
    scans = plan.count("Bitmap Index Scan")
    return not re.search("Seq Scan|Index Scan using|Index Only Scan", plan) and scans == plan.count("Index Cond")


def test_the_box_stands_on_every_page_for_those_who_may_see_users(client, staff, alice):
    client.force_login(staff)
    for name, arguments in (("index", []), ("billing_wallet_changelist", []), ("accounts_user_change", [alice.pk])):
        page = client.get(reverse(f"admin:{name}", args=arguments)).content.decode()
        assert page.count('id="find"') == 1, name
    assert 'id="find"' not in client.get(reverse("admin:login")).content.decode()


def test_one_hit_opens_the_customer_at_once_and_none_says_so(client, staff, alice):
    client.force_login(staff)
    answer = client.get(reverse("admin:find"), {"q": "alice@"})
    assert answer["Location"] == reverse("admin:customer", args=[alice.pk])
    page = client.get(reverse("admin:find"), {"q": "<b>nobody</b>@example.com"}).content.decode()
    assert "Nobody was found" in page
    assert "<b>nobody" not in page
    assert client.post(reverse("admin:find")).status_code == 405
