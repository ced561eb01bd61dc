"""Every documented read with data behind it: it answers what the documentation says, and HEAD is like GET.

A read that joins the documentation without data for it here fails.
"""

import json
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import Group

from accounts.login.sessions import open_session
from accounts.staff.roles import FINANCE, OPERATOR
from billing import adjustments
from billing.models import Hold, Notice, Package, PromotionCode
from billing.refunds import requests
from billing.topups.orders import offer_of_amount, offer_of_package, start_topup
from billing.topups.packages import seed_packages
from billing.topups.sandbox import play
from inference.catalogue import DEMO_KEY
from tests.billing.holds import open_hold
from tests.support.cast import CREDIT, UserFactory, fund
from tests.support.documents import PREFIX, Document
from tests.support.stack import wait_until

LATER = "2099-01-01T00:00:00Z"
# Members that are null or empty here: what has not happened to these rows, or what this machine lacks.
NO_DATA = {
    "AdjustmentOut.decided_at",
    "AdjustmentOut.decided_by_id",
    "AdjustmentOut.ledger_entry_id",
    "CodeOut.approved_by_id",
    "ConversationOut.archived_at",
    "ConversationOut.pinned_at",
    "EventOut.id",
    "GenerationOut.stop",
    "GenerationOut.stop_requested_at",
    "GrantOut.expires_at",
    "ExportOut.parameters",
    "KeyOut.last_used_at",
    "KeyOut.replaced_until",
    "KeyOut.revoked_at",
    "LinkOut.revoked_at",
    "NotificationOut.read_at",
    "PriceOut.created_by_id",
    "RefundOut.topup_id",
    "ServedModelOut.oldest_queued_seconds",
    "SystemOut.gpus",  # a machine with a GPU has them
}


@dataclass(frozen=True, slots=True)
class World:
    """Who asks, by the beginning of the path, and what they find there by the names of the paths' parameters."""

    clients: dict[str, httpx.Client]
    things: dict[str, Any]

    def ask(self, method: str, path: str) -> httpx.Response:
        """The answer to whoever may read this."""
        client = next(client for prefix, client in self.clients.items() if path.startswith(prefix))
        return client.request(method, path.format(**self.things))


@pytest.fixture
def document(client, db):
    return Document(client.get("/api/v1/schema/").json())


@pytest.fixture
def world(server, engine, alice, staff, rf):
    """Alice owns something of everything; amounts do not fit into 32 bits."""
    clients = []

    def client_of(user):
        headers = {"Authorization": f"Bearer {open_session(user=user, request=rf.post('/'), is_confirmed=True).access}"}
        clients.append(httpx.Client(base_url=server.url, headers=headers, timeout=30))
        return clients[-1]

    def member(role):
        user = UserFactory.create(email=f"{role}@example.com", is_staff=True)
        user.groups.add(Group.objects.get(name=role))
        return user

    customer, finance, operator = map(client_of, (alice, member(FINANCE), member(OPERATOR)))
    by_prefix = {
        "/api/v1/admin/": finance,
        "/api/v1/ops/": operator,
        "/api/v1/reports/performance": operator,
        "/api/v1/reports/": finance,
        "/": customer,
    }
    yield World(by_prefix, give_everything(customer, alice, staff) | {"user_id": alice.pk, "key": DEMO_KEY})
    for client in clients:
        client.close()


def give_everything(client, alice, staff):
    """Something of every kind that a customer has and staff see; by the names of the paths' parameters."""
    fund(alice, 5000 * CREDIT)
    limits = {"models": [DEMO_KEY], "monthly_cap_microcredits": 3000 * CREDIT, "expires_at": LATER}
    key = client.post("/api/v1/keys", json={"name": "Mine", "scopes": ["chat"]} | limits).json()
    client.patch("/api/v1/preferences", json={"monthly_cap_microcredits": 3000 * CREDIT})
    talk = client.post("/api/v1/conversations", json={"model": DEMO_KEY}).json()
    sent = client.post(f"/api/v1/conversations/{talk['id']}/messages", json={"text": "Hello"}).json()
    client.patch(f"/api/v1/conversations/{talk['id']}/messages/{sent['answer']['id']}", json={"rating": 1})
    client.post(f"/api/v1/conversations/{talk['id']}/links", json={"days": 7})
    kept = client.post("/api/v1/system-prompts", json={"name": "Fox", "text": "Be a fox."}).json()
    generation = sent["answer"]["generation"]
    wait_until(lambda: Hold.objects.get(pk=generation["hold"]).closed_at, 20, "the answer")
    open_hold(alice)
    seed_packages()
    topup = start_topup(user=alice, offer=offer_of_package(Package.objects.first()), idempotency_key="paid")
    play(topup=topup, action="pay")
    start_topup(user=alice, offer=offer_of_amount(500), idempotency_key="waiting")
    hold = Hold.objects.get(pk=generation["hold"])
    refund = requests.request_refund(by=staff, amount=1, reason="Sorry", idempotency_key="r", hold=hold)
    adjustment = adjustments.adjust_credits(
        user=alice, amount_microcredits=5000 * CREDIT, idempotency_key="a", reason="Sorry", by=staff
    )
    Notice.objects.create(user=alice, name="low_balance", path="/credits/")
    PromotionCode.objects.create(
        code="WELCOME",
        credits_microcredits=5000 * CREDIT,
        created_by=staff,
        ends_at=LATER,
        expires_after_days=30,
        most_redemptions=3,
    )
    return {
        "adjustment_id": adjustment.pk,
        "conversation_id": talk["id"],
        "entry_id": hold.entries.first().pk,
        "generation_id": generation["id"],
        "hold_id": hold.pk,
        "key_id": key["id"],
        "prompt_id": kept["id"],
        "refund_id": refund.pk,
        "topup_id": topup.pk,
    }


def events_in(text: str) -> list[dict[str, str]]:
    """The server-sent events of a stream, without its comments."""
    blocks = [block.splitlines() for block in text.split("\n\n") if block and not block.startswith(":")]
    return [dict(line.split(": ", 1) for line in block) for block in blocks]


def values_of(media_type: str, answer: httpx.Response) -> list[Any]:
    """What an answer holds: the events of a stream, or its one value."""
    if media_type == "text/event-stream":
        return events_in(answer.text)
    return [answer.json() if media_type == "application/json" else answer.text]


def test_every_documented_read_answers_what_is_documented(world, document):
    wrong = []
    for path in document.reads():
        media_type, schema = document.answer_of(path)
        answer = world.ask("GET", path)
        if answer.status_code != 200 or answer.headers["Content-Type"].partition(";")[0] != media_type:
            wrong.append(f"{path}: {answer.status_code} {answer.headers['Content-Type']} {answer.text[:200]}")
            continue
        values = values_of(media_type, answer)
        wrong += [f"{path}: {fault}" for value in values for fault in document.faults(schema, value)]
        if not values[0] or (isinstance(values[0], dict) and values[0].get("results") == []):
            wrong.append(f"{path}: no data")
    assert wrong == []
    assert sorted({*document.never_filled(), "SystemOut.gpus"}) == sorted(NO_DATA)


def test_the_last_event_of_an_answer_is_the_documented_generation(world, document):
    events = events_in(world.ask("GET", "/api/v1/generations/{generation_id}/events").text)
    assert events[-1]["event"] == "done"
    assert document.faults({"$ref": f"{PREFIX}GenerationOut"}, json.loads(events[-1]["data"])) == []


def test_head_is_answered_as_get_without_a_body_by_every_documented_read(world, document):
    """One connection for all: what a HEAD would send too much would be the head of the next answer."""
    wrong = []
    for path in document.reads():
        got, headed = world.ask("GET", path), world.ask("HEAD", path)
        statuses = (got.status_code, headed.status_code)
        is_same = got.headers["Content-Type"] == headed.headers["Content-Type"]
        if statuses != (200, 200) or not is_same or headed.content:
            wrong.append(f"{path}: {statuses}, {headed.headers['Content-Type']}, {headed.content[:50]!r}")
    assert wrong == []
