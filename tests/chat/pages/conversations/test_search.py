"""The page of the search: what it shows, what it refuses, and the way from a hit to its message."""

import pytest
from django.urls import reverse

from chat.branches import read_branches
from chat.models import Conversation
from tests.chat.pages.browser import path_of
from tests.e2e.looking import look_at
from tests.support.cast import answered_talk

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume"),  # WhiteNoise's files, as in config.asgi
]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESKTOP = {"viewport": {"width": 1440, "height": 900}}
URL = "/conversations/search/"


@pytest.fixture
def talk(client, alice, catalogue):
    client.force_login(alice)
    return answered_talk(alice, catalogue)


def look_for(client, **query):
    return client.get(URL, query)


def test_a_hit_shows_its_conversation_and_leads_to_its_message(client, talk, django_assert_num_queries):
    with django_assert_num_queries(12):
        page = look_for(client, q="secret answer").content.decode()
    answer = talk.messages.last()
    assert "<mark>secret</mark> <mark>answer</mark>" in page
    hit = reverse("chat:hit", args=[talk.pk, answer.pk])
    assert hit in page
    assert client.get(hit)["Location"] == f"{talk.get_absolute_url()}#message-{answer.pk}"
    assert client.get(reverse("chat:hit", args=[talk.pk, answer.pk + 10**6])).status_code == 404


def test_a_hit_on_another_branch_lets_the_page_show_that_branch(client, alice, catalogue, talk):
    made = Conversation.objects.create(user=alice, model=catalogue, title="Birds")
    first = made.messages.create(role="user", text="heron", is_first=True)
    other = made.messages.create(role="user", text="stork", is_first=True)
    later = made.messages.create(role="user", text="more of it", parent=first)
    Conversation.objects.filter(pk=made.pk).update(tip=other)
    hit = client.get(reverse("chat:hit", args=[made.pk, first.pk]))
    assert hit["Location"] == f"{made.get_absolute_url()}#message-{first.pk}"
    made.refresh_from_db()
    assert read_branches(made).path() == [first.pk, later.pk]


def test_a_hit_long_ago_leads_to_a_page_that_shows_it(client, alice, catalogue, talk):
    made = Conversation.objects.create(user=alice, model=catalogue, title="Birds")
    messages = [made.messages.create(role="user", text=f"bird {number}") for number in range(200)]
    for number in (0, 1, 100, 149, 150, 199):
        target = messages[number].pk
        address = client.get(reverse("chat:hit", args=[made.pk, target]))["Location"]
        assert address.endswith(f"#message-{target}")
        page = client.get(address.partition("#")[0]).content.decode()
        assert f'id="message-{target}"' in page, number


def test_a_hit_in_an_answer_that_was_continued_leads_to_the_whole_answer(client, alice, catalogue, talk):
    made = Conversation.objects.create(user=alice, model=catalogue, title="Birds")
    prompt = made.messages.create(role="user", text="heron", is_first=True)
    begun = made.messages.create(role="assistant", text="It is", imported_from="x", parent=prompt)
    rest = made.messages.create(role="assistant", text="a bird", imported_from="x", parent=begun)
    Conversation.objects.filter(pk=made.pk).update(tip=rest)
    for hit in (begun, rest):
        address = client.get(reverse("chat:hit", args=[made.pk, hit.pk]))["Location"]
        assert f'id="{address.partition("#")[2]}"' in client.get(made.get_absolute_url()).content.decode()


def test_what_people_wrote_stays_text_in_a_hit(client, talk):
    talk.messages.create(role="user", text="<script>alert('fox')</script> &amp; <mark>")
    page = look_for(client, q="fox").content.decode()
    assert "&lt;script&gt;alert(&#x27;<mark>fox</mark>&#x27;)" in page
    assert look_for(client, q="<script>").content.decode().count("<script>") == 0


@pytest.mark.parametrize(
    "text", ["%", "_", "\\", "'", "' OR 1=1 --", ":*", "&|!()", "\x00", "  ", "x" * 200, "%s", "🦊"]
)
def test_signs_are_harmless(client, talk, text):
    answer = look_for(client, q=text)
    assert answer.status_code == 200
    assert b"secret question" not in answer.content


def test_a_question_of_ten_thousand_characters_is_refused_with_words(client, talk):
    answer = look_for(client, q="x" * 10_000)
    assert (answer.status_code, "at most 200 characters" in answer.content.decode()) == (422, True)


@pytest.mark.parametrize(
    "query", [{"since": "yesterday"}, {"until": "2026-13-01"}, {"model": "gpt-99"}, {"since": "99999-01-01"}]
)
def test_filters_that_make_no_sense_are_refused(client, talk, query):
    assert look_for(client, q="secret", **query).status_code == 422


@pytest.mark.parametrize(
    ("query", "is_found"),
    [
        ({"since": "0001-01-01"}, True),
        ({"until": "9999-12-31"}, True),
        ({"since": "9999-12-31"}, False),
        ({"until": "2001-01-01"}, False),
        ({"model": "gemma-3-270m"}, True),
        ({"model": "gemma-3-1b"}, False),
    ],
)
def test_filters_by_day_and_model(client, talk, query, is_found):
    assert ("<mark>secret</mark>" in look_for(client, q="secret", **query).content.decode()) is is_found


def test_charlie_finds_and_opens_nothing_of_alice(client, talk, charlie):
    client.force_login(charlie)
    assert b"secret answer" not in look_for(client, q="secret").content
    assert client.get(reverse("chat:hit", args=[talk.pk, talk.messages.last().pk])).status_code == 404


def test_what_is_deleted_is_not_found(client, talk):
    client.post(reverse("chat:delete", args=[talk.pk]))
    assert b"<mark>" not in look_for(client, q="secret").content
    assert client.get(reverse("chat:hit", args=[talk.pk, talk.messages.last().pk])).status_code == 404


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_from_the_side_bar_to_the_message_in_a_browser(open_page, alice, talk, size, scheme):
    for number in range(40):
        talk.messages.create(role="user", text=f"Line {number} " + "heron " * (number == 3) + "word " * 60)
    Conversation.objects.create(user=alice, model=talk.model, title="Of herons")
    page = open_page(alice, path_of(talk), color_scheme=scheme, **size)
    if size is PHONE:
        page.click(".top .opener")
    page.fill(".side [type=search]", "heron")
    page.press(".side [type=search]", "Enter")
    page.wait_for_selector(".hits mark >> nth=1")
    look_at(page, f"search-{scheme}-{size['viewport']['width']}")
    page.click(".hit")
    page.wait_for_url("**/c/**#message-*")
    page.wait_for_selector(".turn:target:has-text('Line 3 heron')")
    box, talk_box = page.locator(".turn:target").bounding_box(), page.locator("#talk").bounding_box()
    assert talk_box["y"] - 1 <= box["y"] < talk_box["y"] + talk_box["height"]
    look_at(page, f"search-hit-{scheme}-{size['viewport']['width']}")
