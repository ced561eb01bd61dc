"""API keys on the pages: made once and shown once, changed, rotated, revoked, and nobody else's."""

import re
from datetime import timedelta
from html import unescape
from uuid import uuid4

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts import api_keys
from accounts.models import ApiKey, AuditEvent
from tests.support.cast import CREDIT, answered_talk, at_once
from tests.support.mailbox import read_mails

LIST, NEW = "/settings/keys/", "/settings/keys/new/"
FIELDS = {"name": "Nightly import", "scopes": ["chat", "usage:read"], "cap": "20", "expires_on": ""}


def fields(**more):
    return FIELDS | {"form_id": str(uuid4())} | more


def text_of(answer):
    return re.search(r"tly_\w{10}_\w{43}", answer.content.decode()).group()


def path(name, key):
    return reverse(f"settings:{name}", args=[key.pk])


@pytest.fixture
def key(alice):
    return api_keys.create_key(user=alice, name="Notebook", scopes=["chat"], monthly_cap_microcredits=5 * CREDIT)[0]


def test_a_key_is_made_shown_once_and_works(confirmed, alice, catalogue, api):
    client = confirmed(alice)
    made = client.post(NEW, fields(allowed_models=[catalogue.key]))
    text = text_of(made)
    key = ApiKey.objects.get()
    assert (key.user, key.name, key.scopes) == (alice, "Nightly import", ["chat", "usage:read"])
    assert (key.allowed_models, key.monthly_cap_microcredits, key.expires_at) == ([catalogue.key], 20 * CREDIT, None)
    assert "no-store" in made["Cache-Control"]
    assert api.bearer(text).get("/api/v1/me").json()["email"] == alice.email
    for page in (LIST, path("key", key)):
        assert text not in client.get(page).content.decode()
    assert AuditEvent.objects.get().action == "key created"
    assert [mail.subject for mail in read_mails()] == ["An API key was made"]


def test_a_form_that_is_sent_twice_makes_one_key_and_the_last_answer_has_its_text(confirmed, alice, api):
    client, sent = confirmed(alice), fields()
    first, second = text_of(client.post(NEW, sent)), client.post(NEW, sent)
    assert ApiKey.objects.count() == 1
    assert text_of(second) != first
    assert "The text before works until" in second.content.decode()
    for text in (first, text_of(second)):
        assert api.bearer(text).get("/api/v1/me").status_code == 200
    client.post(path("revoke_key", ApiKey.objects.get()))
    refused = client.post(NEW, sent)
    assert refused.status_code == 422
    assert "The key has ended" in refused.content.decode()
    assert ApiKey.objects.count() == 1


def test_a_form_that_is_sent_again_with_less_gives_a_key_that_may_do_less(confirmed, alice):
    client, sent = confirmed(alice), fields()
    client.post(NEW, sent)
    client.post(NEW, sent | {"scopes": ["usage:read"], "cap": "1"})
    key = ApiKey.objects.get()
    assert (key.scopes, key.monthly_cap_microcredits) == (["usage:read"], 1_000_000)


@pytest.mark.django_db(transaction=True)
def test_a_double_click_makes_one_key(confirmed, alice):
    sent, clients = fields(), [confirmed(alice) for _click in range(4)]
    answers = at_once(4, lambda number: clients[number].post(NEW, sent))
    assert [answer.status_code for answer in answers] == [200] * 4
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 61}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["admin"]}, "scopes"),
        ({"allowed_models": ["nobody-has-it"]}, "allowed_models"),
        ({"cap": "0"}, "cap"),
        ({"cap": "-1"}, "cap"),
        ({"cap": "lots"}, "cap"),
        ({"cap": "9" * 40}, "cap"),
        ({"expires_on": "2020-01-01"}, "expires_on"),
        ({"expires_on": "tomorrow"}, "expires_on"),
        ({"expires_on": "9999-12-31"}, "expires_on"),
        ({"form_id": "x"}, "form_id"),
    ],
)
def test_what_does_not_fit_is_said_beside_its_field(confirmed, alice, change, field):
    answer = confirmed(alice).post(NEW, fields(**change))
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [field]
    assert f'id="id_{field}_error"' in answer.content.decode()
    assert ApiKey.objects.count() == 0


def test_a_key_is_changed_and_keeps_what_was_not(confirmed, alice, key):
    moment = timezone.now() + timedelta(days=3)
    ApiKey.objects.update(expires_at=moment)
    client = confirmed(alice)
    page = client.get(path("key", key)).content.decode()
    assert f'value="{timezone.localtime(moment).date():%Y-%m-%d}"' in page
    assert re.search(r'value="5(\.0+)?"', page)
    same_day = f"{timezone.localtime(moment).date():%Y-%m-%d}"
    changed = client.post(path("key", key), FIELDS | {"cap": "", "expires_on": same_day})
    assert changed.url == LIST
    key.refresh_from_db()
    assert (key.name, key.monthly_cap_microcredits, key.expires_at) == ("Nightly import", None, moment)
    client.post(path("key", key), FIELDS | {"expires_on": f"{timezone.localdate():%Y-%m-%d}"})
    key.refresh_from_db()
    assert key.is_live
    assert key.expires_at.date() == timezone.localdate()
    assert [mail.subject for mail in read_mails()] == ["An API key was made"] + ["An API key was changed"] * 2


def test_a_key_gets_another_text(confirmed, alice, key, api):
    client = confirmed(alice)
    new = text_of(client.post(path("rotate_key", key), {"overlap": "0"}))
    assert api.bearer(new).get("/api/v1/me").status_code == 200
    assert client.post(path("rotate_key", key), {"overlap": "99999999"}).status_code == 422
    newest = client.post(path("rotate_key", key), {"overlap": "3600"})
    assert "The text before works until" in newest.content.decode()
    for text in (new, text_of(newest)):
        assert api.bearer(text).get("/api/v1/me").status_code == 200


def test_a_key_is_revoked_once_however_often_one_clicks(confirmed, alice, key):
    client = confirmed(alice)
    assert "Revoke" in client.get(path("revoke_key", key)).content.decode()
    assert ApiKey.objects.get().is_live
    for _click in range(2):
        assert client.post(path("revoke_key", key)).url == LIST
    assert not ApiKey.objects.get().is_live
    assert AuditEvent.objects.filter(action="key revoked").count() == 1
    assert "Keys that have ended" in client.get(LIST).content.decode()
    for name, sent in (("key", FIELDS), ("rotate_key", {"overlap": "0"})):
        refused = client.post(path(name, key), sent)
        assert refused.status_code == 409
        assert "The key has ended" in refused.content.decode()


def test_the_fifty_first_key_is_refused(confirmed, alice, monkeypatch):
    monkeypatch.setattr(api_keys, "MOST_KEYS", 1)
    client = confirmed(alice)
    client.post(NEW, fields())
    refused = client.post(NEW, fields(name="One more"))
    assert refused.status_code == 422
    assert "You have 1 keys" in refused.content.decode()
    assert 'value="One more"' in refused.content.decode()


@pytest.mark.parametrize("name", ["key", "rotate_key", "revoke_key"])
def test_somebody_elses_key_is_not_there(confirmed, charlie, key, name):
    client = confirmed(charlie)
    for answer in (client.get(path(name, key)), client.post(path(name, key), FIELDS | {"overlap": "0"})):
        assert answer.status_code == 404
    assert key.name not in client.get(LIST).content.decode()
    assert ApiKey.objects.get().is_live


def test_an_old_log_in_is_asked_for_the_password_and_goes_on_with_the_form(client, alice):
    client.force_login(alice)
    asked = client.post(NEW, fields(), headers={"Referer": f"http://testserver{NEW}"})
    assert asked.url.startswith(reverse("account_reauthenticate"))
    assert ApiKey.objects.count() == 0
    assert client.post(asked.url, {"password": "wrong"}).status_code == 200
    assert ApiKey.objects.count() == 0
    made = client.post(asked.url, {"password": "correct horse battery staple", "next": NEW})
    assert text_of(made)
    assert ApiKey.objects.get().user == alice


def test_the_list_says_what_each_key_spent_in_few_questions(client, alice, catalogue, django_assert_num_queries):
    spent = []
    for number in range(3):
        name = f"<b>{number}</b>"
        key = api_keys.create_key(user=alice, name=name, scopes=["chat"], monthly_cap_microcredits=CREDIT)[0]
        talk = answered_talk(alice, catalogue, api_key=key)
        spent.append(-talk.messages.last().generation.hold.entries.get().amount_microcredits)
    client.force_login(alice)
    with django_assert_num_queries(7):  # the side bar's two; session, user, keys, what they spent, ended keys
        page = unescape(client.get(LIST).content.decode())
    assert page.count("of 1\n") == 3
    assert "<b>0</b>" not in client.get(LIST).content.decode()
    assert spent[0] > 0
