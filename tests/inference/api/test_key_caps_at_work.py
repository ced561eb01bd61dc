"""A key's monthly cap holds wherever the key asks for an answer, whatever runs at the same time."""

import pytest

from billing.ledger.caps import set_cap
from billing.models import Hold
from inference.catalogue import DEMO_KEY
from tests.support.cast import at_once

pytestmark = pytest.mark.django_db(transaction=True)

MESSAGES = [{"role": "user", "content": "Hello"}]
BODY = {"model": DEMO_KEY, "messages": MESSAGES, "max_tokens": 20}


@pytest.fixture
def most(with_key, alice):
    """What one such answer costs at most."""
    return with_key(alice).post("/api/v1/estimate", BODY).json()["most_microcredits"]


def test_every_way_of_asking_notes_the_key(with_key, alice):
    client = with_key(alice)
    client.post("/api/v1/generations", BODY)
    conversation = client.post("/api/v1/conversations", {"model": DEMO_KEY}).json()["id"]
    sent = client.post(f"/api/v1/conversations/{conversation}/messages", {"text": "Hello"}).json()
    client.post(f"/api/v1/conversations/{conversation}/stop")
    again = client.post(f"/api/v1/conversations/{conversation}/messages/{sent['answer']['id']}/regenerate")
    assert again.status_code == 201
    assert list(Hold.objects.values_list("api_key", flat=True)) == [client.key.pk] * 3


def test_a_log_in_has_no_cap_and_no_key(login, alice):
    assert login(alice).post("/api/v1/generations", BODY).status_code == 201
    assert Hold.objects.get().api_key is None


def test_what_exceeds_the_cap_is_refused_with_figures(with_key, alice, most, faults):
    client = with_key(alice, monthly_cap_microcredits=most)
    assert client.post("/api/v1/generations", BODY).status_code == 201
    refused = client.post("/api/v1/generations", BODY)
    assert (refused.status_code, refused.json()["code"]) == (402, "key_cap_reached")
    assert refused.json()["room_microcredits"] == 0
    assert with_key(alice).post("/api/v1/generations", BODY).status_code == 201  # another key has its own
    assert Hold.objects.count() == 2
    assert faults() == []


def test_a_cap_that_affords_less_makes_the_answer_shorter(with_key, alice, most):
    client = with_key(alice, monthly_cap_microcredits=most)
    asked = client.post("/api/v1/generations", BODY | {"max_tokens": 500}).json()
    assert asked["max_completion_tokens"] == 20
    assert (asked["is_limited_by_balance"], asked["limited_by"]) == (True, "key_cap")


def test_ten_requests_at_once_keep_within_the_cap(with_key, alice, most, faults):
    client = with_key(alice, monthly_cap_microcredits=3 * most)
    answers = at_once(10, lambda _n: client.post("/api/v1/generations", BODY))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [402] * 7
    assert sum(hold.amount_microcredits for hold in Hold.objects.all()) == 3 * most
    assert faults() == []


def test_openais_clients_see_no_quota(client, with_key, alice, most):
    capped = with_key(alice, monthly_cap_microcredits=most)
    capped.post("/api/v1/generations", BODY)
    refused = capped.post("/v1/chat/completions", BODY)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "key_cap_reached")
    assert "This key may spend 0.00 more credits this month" in refused.json()["error"]["message"]


def test_a_customers_own_cap_is_told_too(with_key, alice, most):
    set_cap(user=alice, cap_microcredits=1)
    refused = with_key(alice).post("/v1/chat/completions", BODY)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "cap_reached")
    problem = with_key(alice).post("/api/v1/generations", BODY).json()
    assert (problem["status"], problem["code"], problem["room_microcredits"]) == (402, "cap_reached", 1)
    assert "Your monthly cap leaves 0.000001 credits" in refused.json()["error"]["message"]
