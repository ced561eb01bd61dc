"""What the search finds, in which order, and that it reads nothing of anybody else."""

import re
from datetime import timedelta
from importlib import import_module

import pytest
from django.db import connection, transaction
from django.utils import timezone

from chat import search as searching
from chat import sql
from chat.conversations import archive_conversation, hide_conversation
from chat.models import Conversation, Message, MessageWords
from chat.search import Question, find_conversation_ids, search
from tests.support.databases.owner import as_owner

pytestmark = pytest.mark.django_db
MIGRATION = import_module("chat.migrations.0006_search")


@pytest.fixture
def talk(alice, catalogue):
    """Call it with texts for a conversation of alice."""

    def make(*texts, title="Untitled", user=alice, **fields):
        made = Conversation.objects.create(user=user, model=catalogue, title=title, **fields)
        for text in texts:
            made.messages.create(role="user", text=text)
        return made

    return make


def found(user, text, **filters):
    """The texts of all hits, in order."""
    shown, _more = search(user=user, question=Question(text, **filters))
    return ["".join(piece for piece, _marked in hit.pieces) for one in shown for hit in one.hits]


FINDS = [
    ("fox", "The quick brown fox", True),
    ("FOX", "the fox", True),
    ("quick fox", "The quick brown fox", True),
    ("fox quick", "The quick brown fox", True),
    ("quick wolf", "The quick brown fox", False),
    ("fo", "foxes", False),  # so short a word must be the whole word
    ("fox", "foxes", True),
    ("oxes", "foxes", False),
    ("what is a fox?", "Tell me: what is a fox", True),
    ("(fox)", "fox", True),
    ("C++", "Is C++ fast?", True),
    ("c++", "Is C++ fast?", True),
    ("C++", "The note c, and c sharp", False),
    ("C#", "in C# it is", True),
    ("node.js", "Install Node.js first", True),
    ("node.js", "a node of a tree, js", False),
    (".net", "use .NET 8", True),
    ("node", "Install Node.js first", True),
    ("foo_bar", "call foo_bar()", True),
    ("foo_bar", "call foo-bar()", False),
    ("100%", "100% sure", True),
    ("100%", "1000 times", False),
    ("a_c", "abc", False),
    ("a\\b", "path a\\b", True),
    ("don't", "I don't know", True),
    ("猫", "我的猫很可爱", True),
    ("可爱", "我的猫很可爱", True),
    ("猫很可爱", "我的猫很可爱", True),
    ("爱可", "我的猫很可爱", False),
    ("可爱猫", "我的猫很可爱 可爱 爱猫", False),  # its pairs are there, but not together
    ("日本語", "これは日本語の文章です", True),
    ("日本語 node.js", "日本語でNode.jsを使う", True),
    ("カタカナ", "ひらがなとカタカナ", True),
    ("สวัสดี", "พูดว่าสวัสดีครับ", True),
    ("привет", "Привет, мир", True),
    ("ärger", "Viel Ärger", True),
    ("한국", "한국어를 배워요", True),
    ("🦊", "look: 🦊!", True),
    ("🦊", "look: 🐺!", False),
    ("%", "100% sure", True),
    ("%", "sure", False),
    ("_", "a_b", True),
    ("'", "it's", True),
    ("';--", "';--", True),
    ("& | ! :*", "a & b | c ! d :* e", True),
    ("<b>", "a <b> c", True),
    ("\U00020000\U00020001", "x\U00020000\U00020001y", True),
]


@pytest.mark.parametrize(("text", "message", "is_found"), FINDS)
def test_what_is_found_in_a_message(alice, talk, text, message, is_found):
    talk(message)
    assert found(alice, text) == ([message] if is_found else [])
    assert bool(find_conversation_ids(user=alice, text=text)) is is_found


@pytest.mark.parametrize(("text", "title", "is_found"), [("ducks", "Of ducks", True), ("%", "Of ducks", False)])
def test_titles_are_found_too(alice, talk, text, title, is_found):
    talk(title=title)
    assert bool(search(user=alice, question=Question(text))[0]) is is_found


def test_every_word_of_the_question_counts_in_one_message(alice, talk):
    talk("a fox", "a wolf")
    assert found(alice, "fox wolf") == []


def test_a_title_stands_before_messages_and_a_message_of_nothing_else_before_a_long_one(alice, talk):
    talk("A long story of trees and rivers, in which at the end there is a heron and nothing else of it")
    talk("heron heron heron")
    talk(title="The heron")
    shown, has_more = search(user=alice, question=Question("heron"))
    assert [one.conversation.title for one in shown] == ["The heron", "Untitled", "Untitled"]
    assert found(alice, "heron")[0] == "heron heron heron"
    assert has_more is False


def test_hits_are_marked_within_a_window_of_a_long_message(alice, talk):
    talk("blah " * 200 + "the <b>Heron</b> flies " + "blah " * 200)
    [[hit]] = [one.hits for one in search(user=alice, question=Question("heron"))[0]]
    assert [text for text, is_marked in hit.pieces if is_marked] == ["Heron"]
    assert hit.is_cut
    assert sum(len(text) for text, _marked in hit.pieces) == searching.WINDOW


def test_deleted_and_other_peoples_conversations_are_not_found_and_archived_ones_are(alice, charlie, talk):
    hide_conversation(conversation=talk("heron deleted", title="heron"))
    archive_conversation(conversation=talk("heron archived"))
    talk("heron of charlie", title="heron", user=charlie)
    for question in ("heron", "h"):
        assert len(found(alice, question)) == (question == "heron")
    assert len(find_conversation_ids(user=alice, text="heron")) == 1


def test_filters_by_model_and_by_day(alice, talk):
    old = talk("heron old")
    Conversation.objects.filter(pk=old.pk).update(updated_at=timezone.now() - timedelta(days=9))
    talk("heron new", title="heron")
    yesterday = timezone.now() - timedelta(days=1)
    assert found(alice, "heron", since=yesterday) == ["heron new"]
    assert found(alice, "heron", until=yesterday) == ["heron old"]
    assert found(alice, "heron", model=old.model_id) == ["heron new", "heron old"]
    assert found(alice, "heron", model="gemma-3-1b") == []


def test_of_a_word_that_is_everywhere_the_latest_messages_are_shown(alice, talk, monkeypatch):
    for number in range(4):
        talk(f"the {number}")
    monkeypatch.setattr(searching, "MOST_RANKED", 2)
    assert found(alice, "the") == ["the 3", "the 2"]
    assert len(found(alice, "the", model="gemma-3-270m")) == 4


def test_a_search_reads_no_whole_table_and_nothing_of_anybody_else(alice, charlie, talk):
    for number in range(20):
        talk(*["heron stork crane"] * 20, user=charlie, title=f"Talk {number}")
    talk("a heron")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE chat_message, chat_messagewords, chat_conversation")
    parameters = searching._parameters(alice, Question("heron"))
    for statement in (searching._BEST, searching._TITLES):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(searching._STEADY)
            cursor.execute("EXPLAIN (ANALYZE) " + statement, parameters)
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert "Seq Scan" not in plan
        assert (statement is searching._TITLES) or "chat_messagewords_words" in plan
        for rows in re.findall(r"Bitmap Index Scan on chat_messagewords_words .*actual.* rows=([\d.]+) loops", plan):
            assert float(rows) == 1


def test_more_conversations_than_are_shown_are_said(alice, talk, monkeypatch):
    monkeypatch.setattr(searching, "MOST_SHOWN", 2)
    for number in range(3):
        talk(f"heron {number}")
    shown, has_more = search(user=alice, question=Question("heron"))
    assert (len(shown), has_more) == (2, True)


@pytest.mark.parametrize("text", ["", "  ", "\u3000"])
def test_nothing_is_looked_for_without_a_question(alice, talk, text, django_assert_num_queries):
    talk("x")
    with django_assert_num_queries(0):
        assert search(user=alice, question=Question(text)) == ([], False)


HUGE = ["word " * 60_000, "猫" * 300_000, "".join(chr(0x20000 + n % 40_000) for n in range(120_000)), "x" * 300_000]


@pytest.mark.parametrize("text", HUGE, ids=["words", "one character", "rare characters", "one word"])
def test_a_huge_message_can_be_kept(alice, talk, text):
    """A tsvector holds a megabyte; more would make the customer's message fail."""
    talk(text)
    assert MessageWords.objects.count() == 1


def test_the_words_of_a_message_follow_its_text_and_go_with_it(alice, talk):
    made = talk("")
    assert MessageWords.objects.count() == 0
    Message.objects.update(text="heron")
    assert found(alice, "heron") == ["heron"]
    Message.objects.update(text="")
    assert found(alice, "heron") == []
    made.delete()
    assert MessageWords.objects.count() == 0


def test_the_migration_writes_the_words_of_earlier_messages(alice, talk, monkeypatch):
    talk("heron one", "heron two", "", "heron three")
    MessageWords.objects.filter(message__text="heron two").delete()
    MessageWords.objects.filter(message__text="heron three").delete()
    monkeypatch.setattr(MIGRATION, "BATCH", 1)
    with connection.schema_editor() as editor:
        MIGRATION.write_words(None, editor)
    assert len(found(alice, "heron")) == 3


def test_the_database_holds_what_the_files_say(alice, talk):
    def definitions():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE proname LIKE 'chat\\_%'"
                " UNION SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname LIKE 'chat\\_%'"
            )
            return dict(cursor.fetchall())

    before = definitions()
    assert len(before) == 2  # the trigger has the name of its function
    as_owner(sql.read(*sorted((path.stem for path in sql.FOLDER.glob("*.sql")), reverse=True)))
    assert definitions() == before
    assert all(re.search(r"SET search_path TO 'pg_catalog', 'public'|CREATE TRIGGER", text) for text in before.values())
