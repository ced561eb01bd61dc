"""Mails have text and HTML of one look, in the customer's language, as a real parser and a real browser read them."""

import re
from email import message_from_bytes, policy
from html.parser import HTMLParser

import pytest
from django.conf import settings
from django.urls import reverse

from accounts.mail import security_notices
from accounts.mail.letters import write_html
from accounts.models import User
from billing.notices.notices import notify
from tests.support.mailbox import read_mails

pytestmark = pytest.mark.django_db(transaction=True)
HOSTILE = '<script>alert(1)</script><img src="https://evil.example/x.png">'


class Reader(HTMLParser):
    """Keeps the tags of a page with their attributes, and its words."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.words = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words += data

    def all_of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def reset(client, user):
    client.post(reverse("account_reset_password"), {"email": user.email})


def verify(client, user):
    fields = {"email": "new@example.com", "password1": "a-Long-passphrase-1", "password2": "a-Long-passphrase-1"}
    client.post(f"{reverse('account_signup')}?lang={user.language}", fields)


MAILS = {
    "verification": verify,
    "reset": reset,
    "log-in": lambda _client, user: security_notices.tell_of_log_in(user=user, address="192.0.2.7", user_agent=HOSTILE),
    "archive": lambda _client, user: security_notices.tell_of_archive(
        user=user, link=f"{settings.PUBLIC_URL}/settings/archives/1/", days=7
    ),
    "key": lambda _client, user: security_notices.tell_of_key(
        user=user, name=HOSTILE, what=security_notices.KeyNews.MADE
    ),
    "low balance": lambda _client, user: notify(
        user_id=user.pk, name="low_balance", path="/credits/", available="1.20", below="5"
    ),
    "refund": lambda _client, user: notify(
        user_id=user.pk, name="refund_done", path="/credits/", worth="2 credits", reason=HOSTILE
    ),
}


@pytest.fixture
def send(client, alice):
    """Call it with the name of a mail and a language; returns the mail as a mail program parses it."""

    def run(name, language):
        User.objects.filter(pk=alice.pk).update(language=language)
        alice.refresh_from_db()
        MAILS[name](client, alice)
        return message_from_bytes(read_mails()[-1].message().as_bytes(), policy=policy.default)

    return run


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("name", MAILS)
def test_a_mail_says_the_same_as_text_and_as_html(send, name, language):
    mail = send(name, language)
    assert mail.get_content_type() == "multipart/alternative"
    text = mail.get_body(("plain",)).get_content()
    page = Reader(mail.get_body(("html",)).get_content())
    assert page.all_of("html") == [{"lang": language, "dir": "ltr"}]
    assert str(mail["Subject"]) in page.words
    said = " ".join(page.words.split())
    for line in text.split("\n"):
        assert " ".join(line.split()) in said
    links = set(re.findall(r"^\s*(http\S+)\s*$", text, re.MULTILINE))
    hrefs = {link["href"] for link in page.all_of("a")}
    assert links - hrefs == set()
    assert all(href.startswith(settings.PUBLIC_URL) for href in hrefs)
    assert mail.defects == []


@pytest.mark.parametrize("name", MAILS)
def test_a_mail_loads_nothing_and_carries_its_look_in_its_tags(send, name):
    page = Reader(send(name, "en").get_body(("html",)).get_content())
    assert {tag for tag, _attributes in page.tags} <= {
        "html", "head", "meta", "title", "style", "body", "div", "p", "h1", "a", "br",
    }  # fmt: skip
    assert not any("src" in attributes or "url(" in str(attributes.get("style")) for _tag, attributes in page.tags)
    assert "background" in page.all_of("body")[0]["style"]
    assert "prefers-color-scheme: dark" in page.words


def test_the_direction_of_a_mail_is_that_of_its_language(monkeypatch):
    monkeypatch.setattr("django.templatetags.i18n.translation.get_language_bidi", lambda: True)
    assert 'dir="rtl"' in write_html(subject="S", text="T")


def test_a_long_line_and_an_address_without_words_are_whole():
    page = Reader(write_html(subject="S" * 300, text="https://example.com/a?b=1&c=2\n\n" + "x" * 5_000))
    assert page.all_of("a")[0]["href"] == "https://example.com/a?b=1&c=2"
    assert "x" * 5_000 in page.words
