"""The search in a customer's conversations: in their titles and in their messages, the best first.

PostgreSQL finds messages by their words (`MessageWords`). Each term of the question must be in the title, or all of
them in one message. The last word of a term may go on: `fox` finds `foxes`. A term with signs, such as `C++` or
`node.js`, and one in a script without blanks, such as Chinese, must also stand in the message as it was written. A
question of nothing but signs has no words: for it messages of the latest conversations are read (docs/adr/0048).
"""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from chat.models import Conversation
from core.sql import fetch_all, fetch_one

MOST_CHARACTERS = 200  # of a question
MOST_TERMS = 12
MOST_TITLES = 200  # the latest that match
MOST_RANKED = 500  # messages that match, the latest
MOST_CHECKED = 10_000  # messages with the words of the question, the latest, where more is asked than words
MOST_READ = 2_000  # messages, of the latest conversations, for a question that has no words
MOST_SHOWN = 50  # conversations
MOST_HITS = 3  # of one conversation
WORD_CHARACTERS = 64
PREFIX_CHARACTERS = 3  # a shorter word must be the whole word
QUOTES, ENDS = "\"'()[]{}<>«»“”„\u2018\u2019", ".,;:!?…"  # around a term: nobody looks for them
LEAD, WINDOW = 60, 240  # characters shown before a hit, and in all

# As in chat/sql/words.sql.
_NO_BLANKS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U00020000-\U0003ffff"
)
_SIGNS = (
    "\x01-/:-@\\[-`{-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\xd7\xf7\u2000-\u206f\u20a0-\u20cf\u2190-\u2bff\u2e00-\u2e7f\u3000-\u3004"
    "\u3008-\u3020\u3030\ue000-\uf8ff\ufe10-\ufe6f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\U0001f000-\U0001faff"
)
_BETWEEN_WORDS = re.compile(f"[{_SIGNS}{_NO_BLANKS}]+")
_RUNS = re.compile(f"[{_NO_BLANKS}]+")
_SIGN = re.compile(f"[{_SIGNS}]")

_OF_CUSTOMER = """c.user_id = %(user)s AND c.deleted_at IS NULL
    AND (%(model)s::text IS NULL OR c.model_id = %(model)s)
    AND (%(since)s::timestamptz IS NULL OR c.updated_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR c.updated_at < %(until)s)"""
# How many messages match a question, PostgreSQL can only guess. It may guess so many that reading whole tables looks
# cheap. So it is told not to, and to plan for each question anew.
_STEADY = """SELECT set_config('enable_seqscan', 'off', true), set_config('plan_cache_mode', 'force_custom_plan', true),
    set_config('max_parallel_workers_per_gather', '0', true)"""
_TITLES = f"""
SELECT c.id, c.updated_at FROM chat_conversation c WHERE {_OF_CUSTOMER} AND c.title ILIKE ALL (%(patterns)s::text[])
ORDER BY c.updated_at DESC LIMIT {MOST_TITLES}"""  # noqa: S608  constants of this module
# The sum in ORDER BY keeps PostgreSQL from reading everybody's messages from the last one on, until it has enough.
_BEST = f"""
WITH latest AS MATERIALIZED (
    SELECT message_id FROM chat_messagewords WHERE words @@ %(words)s::tsquery
    ORDER BY message_id + 0 DESC LIMIT %(most)s::int
)
SELECT m.id, m.conversation_id, c.updated_at, ts_rank(w.words, %(words)s::tsquery, 1)
FROM latest JOIN chat_messagewords w USING (message_id) JOIN chat_message m ON m.id = w.message_id
    JOIN chat_conversation c ON c.id = m.conversation_id
WHERE {_OF_CUSTOMER} AND m.text ILIKE ALL (%(checked)s::text[])"""  # noqa: S608
_SIGNS_ONLY = f"""
SELECT id, conversation_id, updated_at, 0::float8 FROM (
    SELECT m.id, m.conversation_id, c.updated_at, m.text
    FROM chat_conversation c JOIN chat_message m ON m.conversation_id = c.id
    WHERE {_OF_CUSTOMER} ORDER BY c.updated_at DESC LIMIT {MOST_READ}
) latest WHERE text ILIKE ALL (%(patterns)s::text[]) ORDER BY id DESC"""  # noqa: S608
_WINDOWS = """
SELECT id, role, created_at, start > 1, substr(text, start, %(window)s::int) FROM (
    SELECT m.id, m.role, m.created_at, m.text, greatest(1, coalesce(first.place, 1) - %(lead)s::int) AS start
    FROM chat_message m CROSS JOIN LATERAL (
        SELECT min(nullif(strpos(lower(m.text), term), 0)) AS place FROM unnest(%(terms)s::text[]) term
    ) first WHERE m.id = ANY (%(ids)s::bigint[])
) found"""


@dataclass(frozen=True, slots=True)
class Question:
    """What is looked for, in MOST_CHARACTERS at most.

    `since` and `until`, which is excluded, say when a conversation was last used.
    """

    text: str
    model: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def terms(self) -> list[str]:
        """What stands between blanks, in lower case, without the punctuation of a sentence around it."""
        terms = self.text.lower().split()[:MOST_TERMS]
        return [term.strip(QUOTES).rstrip(ENDS).strip(QUOTES) or term for term in terms]


@dataclass(frozen=True, slots=True)
class Hit:
    """A part of a message that was found. `pieces` are its text, each with whether it is marked."""

    message_id: int
    role: str
    created_at: datetime
    is_cut: bool
    pieces: list[tuple[str, bool]]


@dataclass(slots=True)
class Found:
    """A conversation that was found, its title in pieces, and its best hits."""

    conversation: Conversation
    title: list[tuple[str, bool]]
    hits: list[Hit] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Match:
    """A message that was found."""

    message_id: int
    conversation_id: UUID
    updated_at: datetime
    rank: float


def find_conversation_ids(*, user: Any, text: str) -> set[UUID]:
    """The conversations that contain the text, in three or four queries."""
    question = Question(text)
    if not question.terms:
        return set()
    titles, messages = _find(user, question)
    return {*titles, *(match.conversation_id for match in messages)}


def search(*, user: Any, question: Question) -> tuple[list[Found], bool]:
    """The best MOST_SHOWN conversations, and whether there are more. At most six queries."""
    if not question.terms:
        return [], False
    titles, messages = _find(user, question)
    scores: dict[UUID, float] = defaultdict(float, dict.fromkeys(titles, 1.0))
    used_at = titles | {match.conversation_id: match.updated_at for match in messages}
    matches = defaultdict(list)
    for match in sorted(messages, key=lambda one: (-one.rank, -one.message_id)):
        if match.conversation_id not in matches:
            scores[match.conversation_id] += match.rank
        matches[match.conversation_id].append(match.message_id)
    order = sorted(scores, key=lambda pk: (-scores[pk], -used_at[pk].timestamp()))[:MOST_SHOWN]
    conversations = Conversation.objects.select_related("model").in_bulk(order)
    best = [conversations[pk] for pk in order if pk in conversations]
    hits = _read_hits([pk for one in best for pk in matches[one.pk][:MOST_HITS]], question)
    shown = [
        Found(one, mark(one.title, question), [hits[pk] for pk in matches[one.pk][:MOST_HITS] if pk in hits])
        for one in best
    ]
    return shown, len(scores) > MOST_SHOWN


def mark(text: str, question: Question) -> list[tuple[str, bool]]:
    """The text in pieces: what the question looks for is marked."""
    looked_for = {*question.terms, *(word for term in question.terms for word in _split(term)[0])}
    alternatives = "|".join(re.escape(one) for one in sorted(looked_for, key=len, reverse=True))
    pieces = re.split(f"({alternatives})", text, flags=re.IGNORECASE)
    return [(piece, number % 2 == 1) for number, piece in enumerate(pieces) if piece]


def _find(user: Any, question: Question) -> tuple[dict[UUID, datetime], list[_Match]]:
    """The conversations whose title contains all terms, with the time of their last use, and the messages that do."""
    parameters = _parameters(user, question)
    with transaction.atomic():  # the settings end with it
        fetch_one(_STEADY, [])
        return dict(fetch_all(_TITLES, parameters)), _find_messages(parameters)


def _find_messages(parameters: dict[str, Any]) -> list[_Match]:
    """Messages that contain all terms; of very many, the latest."""
    rows = fetch_all(_BEST if parameters["words"] else _SIGNS_ONLY, parameters)
    return [_Match(*row) for row in rows]


def _parameters(user: Any, question: Question) -> dict[str, Any]:
    checked = [_pattern(term) for term in question.terms if _is_checked(term)]
    is_narrow = bool(checked or question.model or question.since or question.until)
    return {
        "user": user.pk,
        "most": MOST_CHECKED if is_narrow else MOST_RANKED,
        "model": question.model,
        "since": question.since,
        "until": question.until,
        "patterns": [_pattern(term) for term in question.terms],
        "checked": checked,
        "words": " & ".join(f"'{user.pk}:{one}" for term in question.terms for one in _lexemes(term)),
    }


def _split(term: str) -> tuple[list[str], list[str]]:
    """The words of a term, and its runs in scripts without blanks."""
    words = [word[:WORD_CHARACTERS] for word in _BETWEEN_WORDS.split(term) if word]
    return words, _RUNS.findall(term)


def _lexemes(term: str) -> list[str]:
    """The words of a term as a tsquery writes them, each with its closing quote."""
    words, runs = _split(term)
    lexemes = [f"{word}'" for word in words]
    if words and _may_go_on(words[-1]) and term.endswith(words[-1][-1]):
        lexemes[-1] += ":*"
    for run in runs:
        lexemes += [f"{run[at : at + 2]}'" for at in range(len(run) - 1)] or [f"{run}':*"]
    return lexemes


def _may_go_on(word: str) -> bool:
    """Whether longer words that begin so are found, too. A syllable of Korean says as much as three letters."""
    return len(word) >= PREFIX_CHARACTERS or word >= "\uac00"


def _is_checked(term: str) -> bool:
    """Whether its words do not say all: it has signs, or several words that must be neighbours."""
    words, runs = _split(term)
    return bool(_SIGN.search(term)) or len(words) + sum(len(run) - 1 for run in runs) > 1


def _pattern(term: str) -> str:
    """The term anywhere in a text, for ILIKE: its own signs of a pattern are taken as they stand."""
    escaped = re.sub(r"([\\%_])", r"\\\1", term)
    return f"%{escaped}%"


def _read_hits(message_ids: list[int], question: Question) -> dict[int, Hit]:
    """The parts of these messages around what is looked for, in one query."""
    if not message_ids:
        return {}
    terms = [*question.terms, *(word for term in question.terms for word in _split(term)[0])]
    parameters = {"ids": message_ids, "terms": terms, "lead": LEAD, "window": WINDOW}
    return {
        pk: Hit(pk, role, created_at, is_cut, mark(text, question))
        for pk, role, created_at, is_cut, text in fetch_all(_WINDOWS, parameters)
    }
