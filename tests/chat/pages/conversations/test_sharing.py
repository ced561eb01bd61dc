"""Shared links: what anybody sees, what nobody sees, and how they end."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from chat.models import Conversation, SharedLink
from chat.transfer import sharing
from chat.transfer.sharing import share_conversation
from tests.chat.pages.browser import path_of
from tests.e2e.looking import look_at
from tests.support.cast import answered_talk, at_once

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume"),  # WhiteNoise's files, as in config.asgi
]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESKTOP = {"viewport": {"width": 1440, "height": 900}}
HOSTILE = [
    "<script>alert(1)</script>",
    "[x](javascript:alert(1))",
    "<img src=x onerror=alert(1)>",
    "![x](https://evil.example/x.png)",
    "<svg onload=alert(1)>",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    '<a href="https://evil.example" onclick="alert(1)">x</a>',
    "</article></main><form action=https://evil.example>",
    "<style>*{display:none}</style>",
    '<iframe src="https://evil.example"></iframe>',
]


@pytest.fixture
def talk(client, alice, catalogue):
    client.force_login(alice)
    talk = answered_talk(alice, catalogue)
    Conversation.objects.filter(pk=talk.pk).update(title="Of herons")
    talk.refresh_from_db()
    return talk


@pytest.fixture
def stranger():
    return Client()


def share(client, talk, days="7", key=None):
    answer = client.post(reverse("chat:share", args=[talk.pk]), {"days": days, "key": key or uuid4()})
    assert answer.status_code == 302, answer.content.decode()
    return SharedLink.objects.latest("pk")


def test_a_stranger_reads_what_was_shared_and_nothing_of_whose_it_is(client, talk, stranger, alice, monkeypatch):
    alice.first_name = "Alicia"
    alice.save()
    link = share(client, talk)
    answer = stranger.get(link.get_absolute_url())
    page = answer.content.decode()
    assert answer.status_code == 200
    for words in ("Of herons", "secret question", "secret answer", "Gemma 3 270M"):
        assert words in page
    hold = talk.messages.last().generation.hold
    private = (
        "alice",
        "Alicia",
        "example.com",
        "credits ·",
        str(hold.pk),
        str(talk.pk),
        "charged",
        "csrfmiddlewaretoken",
    )
    assert [word for word in private if word in page] == []
    assert "set-cookie" not in {name.lower() for name in answer.headers}
    assert not answer.cookies
    assert answer["Cache-Control"] == "no-store"
    assert answer["X-Robots-Tag"] == "noindex, nofollow"
    assert answer["Referrer-Policy"] == "no-referrer"
    assert 'content="noindex, nofollow"' in page
    assert "script-src 'self'" in answer["Content-Security-Policy"]
    logged_in = client.get(link.get_absolute_url())
    assert "alice" not in logged_in.content.decode()


def test_later_messages_and_other_branches_and_a_new_title_are_not_shown(client, talk, stranger):
    link = share(client, talk)
    prompt, answer = talk.messages.order_by("pk")
    talk.messages.create(role="user", text="A later secret", parent=answer)
    talk.messages.create(role="user", text="An edited secret", is_first=True)
    Conversation.objects.filter(pk=talk.pk).update(title="A later title")
    page = stranger.get(link.get_absolute_url()).content.decode()
    assert "later" not in page
    assert "edited" not in page
    assert prompt.text in page
    answer.delete()
    page = stranger.get(link.get_absolute_url())
    assert (page.status_code, b"secret question" in page.content, b"secret answer" in page.content) == (
        200,
        True,
        False,
    )


def test_an_answer_that_is_being_written_is_not_shared(client, alice, send, catalogue, stranger):
    client.force_login(alice)
    send("What is a fox?")
    link = share(client, Conversation.objects.get())
    assert len(link.message_ids) == 1
    assert stranger.get(link.get_absolute_url()).status_code == 200


def ended(stranger, link, status=410):
    answer = stranger.get(link.get_absolute_url())
    assert (answer.status_code, b"secret" in answer.content) == (status, False)
    assert answer["Cache-Control"] == "no-store"
    return answer.content.decode()


def test_a_revoked_link_is_gone_at_once(client, talk, stranger):
    link, other = share(client, talk), share(client, talk)
    for _twice in range(2):
        assert client.post(reverse("chat:revoke", args=[link.pk])).status_code == 302
    assert "not shared any more" in ended(stranger, link)
    assert stranger.get(other.get_absolute_url()).status_code == 200
    assert "revoked" in client.get(reverse("chat:links")).content.decode()


@pytest.mark.parametrize(("days", "lasts"), [("7", 7), ("30", 30), ("0", None)])
def test_a_link_expires_when_it_says(client, talk, stranger, days, lasts):
    link = share(client, talk, days)
    if lasts is None:
        assert link.expires_at is None
        return
    assert abs(link.expires_at - timezone.now() - timedelta(days=lasts)) < timedelta(minutes=5)
    SharedLink.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    ended(stranger, link)
    assert "expired" in client.get(reverse("chat:links")).content.decode()


def test_a_link_ends_with_its_conversation_and_its_account(client, talk, stranger, alice):
    link = share(client, talk)
    client.post(reverse("chat:delete", args=[talk.pk]))
    ended(stranger, link)
    assert "Of herons" not in client.get(reverse("chat:links")).content.decode()
    client.post(reverse("chat:restore", args=[talk.pk]))
    assert stranger.get(link.get_absolute_url()).status_code == 200
    alice.is_active = False
    alice.save()
    ended(stranger, link)
    Conversation.objects.all().delete()
    ended(stranger, link, 404)


@pytest.mark.parametrize("token", ["x", "x" * 43, "..%2F", "%00", "🦊", "x" * 5000])
def test_a_link_that_nobody_made_is_not_there(stranger, alice, token):
    assert stranger.get(f"/s/{token}/").status_code == 404


def test_a_token_has_256_bits(client, talk):
    assert {len(share(client, talk).token) for _two in range(2)} == {43}
    assert SharedLink.objects.values("token").distinct().count() == 2


def test_a_double_click_makes_one_link(client, talk):
    key = uuid4()
    at_once(4, lambda _n: share(client, talk, key=key))
    assert SharedLink.objects.count() == 1


def test_what_cannot_be_shared_says_so(client, talk, alice, catalogue, monkeypatch):
    empty = Conversation.objects.create(user=alice, model=catalogue, title="Empty")
    for there, words in ((empty, "nothing in this conversation"), (talk, "Revoke one first")):
        monkeypatch.setattr(sharing, "MOST_LINKS", 0 if there is talk else 9)
        answer = client.post(reverse("chat:share", args=[there.pk]), {"days": "7", "key": uuid4()})
        assert (answer.status_code, words in answer.content.decode()) == (422, True)
    for fields in ({"days": "9", "key": uuid4()}, {"days": "7"}, {"days": "7", "key": "x"}):
        assert client.post(reverse("chat:share", args=[talk.pk]), fields).status_code == 422
    assert SharedLink.objects.count() == 0


def test_charlie_shares_and_revokes_nothing_of_alice(client, talk, charlie, stranger):
    link = share(client, talk)
    client.force_login(charlie)
    assert client.get(reverse("chat:share", args=[talk.pk])).status_code == 404
    assert client.post(reverse("chat:share", args=[talk.pk]), {"days": "7", "key": uuid4()}).status_code == 404
    assert client.post(reverse("chat:revoke", args=[link.pk])).status_code == 404
    assert "herons" not in client.get(reverse("chat:links")).content.decode()
    assert stranger.get(link.get_absolute_url()).status_code == 200


def test_a_shared_page_takes_two_queries(client, talk, stranger, django_assert_num_queries):
    link = share(client, talk)
    with django_assert_num_queries(2):
        stranger.get(link.get_absolute_url())


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_from_the_menu_to_the_shared_page_in_a_browser(open_page, alice, talk, size, scheme):
    talk.messages.filter(role="assistant").update(
        text="\n\n".join(HOSTILE) + "\n\n## A heading\n\n```python\nx = 1\n```"
    )
    page = open_page(alice, path_of(talk), color_scheme=scheme, **size)
    name = f"{scheme}-{size['viewport']['width']}"
    if size is PHONE:
        page.click(".top .opener")
    row = ".side .list li:has([aria-current])"
    page.hover(row)
    page.click(f"{row} summary")
    page.click(f"{row} .pop >> text='Share'")
    page.click("text='Make a link'")
    page.wait_for_selector(".links-list .address")
    look_at(page, f"share-{name}")
    address = page.locator(".links-list .address").inner_text()
    visitor = open_page(None, address, color_scheme=scheme, **size)
    visitor.wait_for_selector(".shared-talk .said")
    look_at(visitor, f"shared-{name}")
    assert visitor.evaluate("document.querySelectorAll('.said :is(script, img, svg, iframe, form, style)').length") == 0
    hrefs = visitor.evaluate("[...document.querySelectorAll('.said a')].map(link => link.protocol)")
    assert set(hrefs) <= {"http:", "https:", "mailto:"}
    assert visitor.context.cookies() == []
    page.click("text='Revoke'")
    page.wait_for_selector(".links-list:has-text('revoked')")
    assert visitor.reload().status == 410
    look_at(visitor, f"shared-gone-{name}")


@pytest.mark.parametrize("shared", [True, False], ids=["shared page", "own page"])
def test_it_prints_without_the_shell(open_page, client, alice, talk, shared):
    path = share(client, talk).get_absolute_url() if shared else path_of(talk)
    page = open_page(None if shared else alice, path, **DESKTOP)
    page.emulate_media(media="print")
    for part in (".compose", ".side", ".bar", ".after button", ".toasts"):
        assert page.locator(f"{part}:visible").count() == 0, part
    for words in ("Of herons", "secret question", "secret answer"):
        assert page.locator(f":text('{words}'):visible").count() >= 1, words
    look_at(page, f"print-{'shared' if shared else 'own'}")


def test_a_link_shows_the_latest_messages_of_a_long_conversation(client, alice, catalogue, monkeypatch):
    monkeypatch.setattr(sharing, "MOST_READ", 1)
    monkeypatch.setattr("chat.pages.sharing.MOST_READ", 1)
    link = share_conversation(conversation=answered_talk(alice, catalogue), days=None, key=uuid4())
    page = client.get(link.get_absolute_url()).content.decode()
    assert "secret answer" in page
    assert "secret question" not in page
    assert "the latest messages are shown" in page


def test_links_are_read_so_often_from_one_network(client, alice, catalogue, settings):
    settings.PAGE_LIMITS = settings.PAGE_LIMITS | {"shared": 2}
    link = share_conversation(conversation=answered_talk(alice, catalogue), days=None, key=uuid4())
    answers = [client.get(link.get_absolute_url()) for _time in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2]["Retry-After"]
