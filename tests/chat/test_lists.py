"""The list of conversations: its order, its labels, its pages, and how few rows are read for one."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from chat import lists
from chat.conversations import archive_conversation, hide_conversation, pin_conversation
from chat.lists import Cursor, InvalidCursor, read_archive, read_list
from chat.models import Conversation

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)  # a Thursday


@pytest.fixture
def talk(alice, catalogue):
    """Call it with a title, and the moment of its last message."""

    def make(title, moment=NOON, **fields):
        made = Conversation.objects.create(user=alice, model=catalogue, title=title, **fields)
        Conversation.objects.filter(pk=made.pk).update(updated_at=moment)
        return made

    return make


@pytest.fixture
def noon(monkeypatch):
    monkeypatch.setattr(timezone, "localdate", lambda: timezone.localtime(NOON).date())


def shown(page):
    return [(group.label, [one.title for one in group.conversations]) for group in page.groups]


def seed(user, count):
    """So many conversations of a user, a minute apart, in SQL."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO chat_conversation (id, user_id, title, model_id, created_at, updated_at)"
            " SELECT gen_random_uuid(), %s, 'Talk ' || n, 'gemma-3-270m', now(), now() - n * interval '1 minute'"
            " FROM generate_series(1, %s) n",
            [user.pk, count],
        )
        cursor.execute("ANALYZE chat_conversation")


def test_conversations_are_grouped_by_day_and_pinned_ones_stand_first(alice, talk, noon):
    for title, days in (("a", 0), ("b", 1), ("c", 2), ("d", 3), ("e", 4), ("f", 25), ("g", 26), ("h", 400)):
        talk(title, NOON - timedelta(days=days))
    pin_conversation(conversation=talk("p", NOON - timedelta(days=100)))
    assert shown(read_list(alice)) == [
        ("Pinned", ["p"]),
        ("Today", ["a"]),
        ("Yesterday", ["b"]),
        ("This week", ["c", "d"]),
        ("This month", ["e", "f"]),
        ("October", ["g"]),
        ("October 2025", ["h"]),
    ]


def test_the_days_are_those_of_the_readers_zone(alice, talk, noon):
    talk("late", datetime(2026, 11, 25, 23, 30, tzinfo=UTC))
    assert shown(read_list(alice)) == [("Yesterday", ["late"])]
    with timezone.override("Europe/Berlin"):
        assert shown(read_list(alice)) == [("Today", ["late"])]


def test_archived_deleted_and_other_peoples_conversations_are_not_listed(alice, charlie, talk, catalogue):
    archive_conversation(conversation=talk("archived"))
    hide_conversation(conversation=talk("deleted"))
    both = talk("both")
    archive_conversation(conversation=both)
    hide_conversation(conversation=both)
    Conversation.objects.create(user=charlie, model=catalogue, title="charlie's")
    assert shown(read_list(alice)) == []
    assert [titles for _label, titles in shown(read_archive(alice))] == [["archived"]]


def test_pages_follow_each_other_without_a_gap_even_within_one_moment(alice, talk, monkeypatch):
    monkeypatch.setattr(lists, "PAGE_ROWS", 3)
    for number in range(8):
        talk(str(number))
    seen, after = [], None
    for _page in range(3):
        page = read_list(alice, after)
        seen += [title for _label, titles in shown(page) for title in titles]
        after = page.after and Cursor.parse(str(page.after))
    assert after is None
    assert sorted(seen) == [str(number) for number in range(8)]


def test_a_page_that_goes_on_with_the_same_day_does_not_name_it_again(alice, talk, noon, monkeypatch):
    monkeypatch.setattr(lists, "PAGE_ROWS", 2)
    for minutes in range(3):
        talk("x", NOON - timedelta(minutes=minutes))
    first = read_list(alice)
    [group] = read_list(alice, first.after).groups
    assert (first.groups[0].goes_on, group.goes_on) == (False, True)


@pytest.mark.parametrize("text", ["", "x", "1", "1-x", "-", "9" * 19 + "-" + "0" * 32, "1-" + "0" * 32 + "zz"])
def test_a_cursor_that_nobody_gave_out_is_refused(text):
    with pytest.raises(InvalidCursor):
        Cursor.parse(text)


def test_five_thousand_conversations_take_one_query_and_no_scan_of_the_table(
    alice, charlie, catalogue, django_assert_num_queries
):
    seed(alice, 5_000)
    seed(charlie, 20_000)
    for conversation in Conversation.objects.filter(user=alice)[:3]:
        pin_conversation(conversation=conversation)
    with django_assert_num_queries(1) as queries:
        page = read_list(alice)
    with django_assert_num_queries(1) as later:
        read_list(alice, page.after)
    assert sum(len(titles) for _label, titles in shown(page)) == 53
    for query in (queries, later):
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + query.captured_queries[-1]["sql"])
            [[plan]] = cursor.fetchall()
        assert "Seq Scan" not in json.dumps(plan)
