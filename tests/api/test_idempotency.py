"""One rule for the Idempotency-Key at every door, and an answer that says when it is an earlier request's."""

import pytest

from billing.models import PromotionCode, TopUp
from inference.models import Generation
from tests.support.cast import CREDIT, answered_talk
from tests.support.idempotency_keys import ASKED, GOOD

BAD = ("", "x" * 256, "tab\t")


@pytest.fixture
def doors(login, alice, staff, catalogue, faults):
    """A request for each door, by its name; call one with a key."""
    client, boss = login(alice), login(staff)
    talk = client.post("/api/v1/conversations", {"model": catalogue.key}).json()
    PromotionCode.objects.create(code="SPRING", credits_microcredits=CREDIT, most_per_user=100)
    hold = answered_talk(alice, catalogue).messages.last().generation.hold
    refund = {"hold_id": str(hold.pk), "amount_microcredits": 1, "reason": "cut off"}
    adjustment = {"amount_microcredits": 5, "reason": "a gift"}
    sent = {
        "generations": (client, "/api/v1/generations", ASKED),
        "messages": (client, f"/api/v1/conversations/{talk['id']}/messages", {"text": "Hi"}),
        "topups": (client, "/api/v1/topups", {"amount_minor": 1250}),
        "codes": (client, "/api/v1/codes", {"code": "SPRING"}),
        "refunds": (boss, "/api/v1/admin/refunds", refund),
        "adjustments": (boss, f"/api/v1/admin/users/{alice.pk}/adjustments", adjustment),
    }

    def post(name, key):
        caller, path, body = sent[name]
        return caller.post(path, body, HTTP_IDEMPOTENCY_KEY=key)

    yield sent, post
    assert faults() == []


@pytest.mark.parametrize("key", GOOD)
def test_a_key_repeats_at_every_door_and_the_answer_says_so(doors, key):
    sent, post = doors
    for name in sent:
        first, again = post(name, key), post(name, key)
        assert (first.status_code, again.status_code) == (201, 201), (name, first.content, again.content)
        assert "Idempotent-Replayed" not in first, name
        assert again["Idempotent-Replayed"] == "true", name
    assert TopUp.objects.count() == 1
    assert Generation.objects.count() == 3


@pytest.mark.parametrize("key", BAD)
def test_a_key_that_is_none_is_an_error_that_says_so_at_every_door(doors, key):
    sent, post = doors
    for name in sent:
        refused = post(name, key)
        assert refused.status_code == 400, name
        assert "255 printable" in refused.json()["errors"]["Idempotency-Key"][0], name
    assert (TopUp.objects.count(), Generation.objects.count()) == (0, 1)


def test_whoever_is_refused_counts_by_address_too(api, settings, with_key, alice, one_minute):
    settings.API_ADDRESS_REQUESTS_PER_MINUTE = 3
    scopeless = with_key(alice, "usage:read")
    answers = [scopeless.get("/api/v1/wallet").status_code for _ in range(2)]
    answers += [api.bearer("tly_wrong").get("/api/v1/me").status_code for _ in range(3)]
    assert answers == [403, 403, 401, 429, 429]
    assert scopeless.get("/api/v1/usage").status_code == 200
