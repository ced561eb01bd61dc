"""Staff read what a customer wrote behind a reason alone, one conversation at a time; the audit log keeps it."""

import time

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEvent
from accounts.staff.roles import FINANCE, SUPPORT
from chat import staff_reading
from tests.support.cast import UserFactory, answered_talk

pytestmark = pytest.mark.django_db
WHY = {"why": "asked", "text": "Ticket 4711"}


@pytest.fixture
def talk(alice, catalogue):
    """What alice asked, and the answer."""
    return answered_talk(alice, catalogue)


@pytest.fixture
def support(client):
    """A member of support, who is logged in."""
    user = UserFactory.create(email="support@example.com", is_staff=True)
    user.groups.add(Group.objects.get(name=SUPPORT))
    client.force_login(user)
    return user


def page_of(talk):
    return reverse("admin:chat_conversation_read", args=[talk.pk])


def events():
    return list(AuditEvent.objects.filter(action="conversation read").order_by("pk"))


def test_metadata_needs_no_reason_and_shows_no_words(client, support, talk):
    for path in (
        reverse("admin:chat_conversation_changelist"),
        reverse("admin:chat_conversation_change", args=[talk.pk]),
        page_of(talk),
    ):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "secret" not in answer.content.decode()
    assert (
        "Read what was written"
        in client.get(reverse("admin:chat_conversation_change", args=[talk.pk])).content.decode()
    )
    assert events() == []


def test_a_reason_opens_the_conversation_and_stands_in_the_audit_log(client, support, talk, alice):
    answer = client.post(page_of(talk), WHY)
    assert (answer.status_code, answer.url) == (302, page_of(talk))
    shown = client.get(answer.url)
    assert "secret question" in shown.content.decode()
    assert "secret answer" in shown.content.decode()
    assert "no-store" in shown["Cache-Control"]
    (event,) = events()
    assert (event.actor, event.subject, event.object_name) == (support, alice, f"conversation {talk.pk}")
    assert event.reason == "asked: Ticket 4711"
    assert "secret" not in str(event.details)


def test_superusers_give_a_reason_too(client, staff, talk):
    client.force_login(staff)
    assert "secret" not in client.get(page_of(talk)).content.decode()
    client.post(page_of(talk), WHY)
    assert "secret question" in client.get(page_of(talk)).content.decode()
    assert len(events()) == 1


@pytest.mark.parametrize(
    "fields",
    [{}, {"why": "asked"}, {"why": "asked", "text": "   "}, {"why": "curious", "text": "x"}, WHY | {"text": "x" * 301}],
)
def test_without_a_reason_nothing_is_shown(client, support, talk, fields):
    answer = client.post(page_of(talk), fields)
    assert "errorlist" in answer.content.decode()
    assert "secret" not in client.get(page_of(talk)).content.decode()
    assert events() == []


def test_the_reason_is_for_one_conversation_one_log_in_and_some_minutes(
    client, support, talk, charlie, catalogue, monkeypatch
):
    client.post(page_of(talk), WHY)
    other = answered_talk(charlie, catalogue)
    assert "secret" not in client.get(page_of(other)).content.decode()
    elsewhere = Client()
    elsewhere.force_login(support)
    assert "secret" not in elsewhere.get(page_of(talk)).content.decode()
    now = time.time()
    later = now + staff_reading.READING_MINUTES * 60
    monkeypatch.setattr(time, "time", lambda: later - 60)
    assert "secret" in client.get(page_of(talk)).content.decode()
    monkeypatch.setattr(time, "time", lambda: later + 1)
    assert "secret" not in client.get(page_of(talk)).content.decode()


def test_a_second_click_writes_no_second_event(client, support, talk):
    for _click in range(2):
        assert client.post(page_of(talk), WHY).status_code == 302
    assert len(events()) == 1


def test_other_roles_may_not(client, talk):
    user = UserFactory.create(email="finance@example.com", is_staff=True)
    user.groups.add(Group.objects.get(name=FINANCE))
    client.force_login(user)
    assert client.get(page_of(talk)).status_code == 403
    assert client.post(page_of(talk), WHY).status_code == 403
    assert events() == []


def test_what_a_customer_deleted_is_read_by_nobody(client, support, talk):
    client.post(page_of(talk), WHY)
    type(talk).objects.filter(pk=talk.pk).update(deleted_at=timezone.now())
    assert client.get(page_of(talk)).status_code == 404
    assert client.post(page_of(talk), WHY).status_code == 404


def test_long_conversations_are_read_page_by_page_and_markup_is_text(
    client, support, talk, django_assert_max_num_queries
):
    talk.messages.bulk_create(
        talk.messages.model(conversation=talk, role="user", text=f"<b>word {n}</b>") for n in range(120)
    )
    client.post(page_of(talk), WHY)
    with django_assert_max_num_queries(12):
        first = client.get(page_of(talk)).content.decode()
    assert "&lt;b&gt;word 47&lt;/b&gt;" in first
    assert "word 48" not in first
    after = first.partition("?after=")[2].partition('"')[0]
    assert "word 48" in client.get(page_of(talk), {"after": after}).content.decode()
    for odd in ("x", "-1", "9" * 40, ""):
        assert client.get(page_of(talk), {"after": odd}).status_code == 200


def test_messages_are_nowhere_else_in_the_admin(client, staff, talk):
    client.force_login(staff)
    generation = talk.messages.last().generation
    for name, pk in (("inference_generation", generation.pk), ("billing_hold", generation.hold_id)):
        assert "secret" not in client.get(reverse(f"admin:{name}_change", args=[pk])).content.decode()
