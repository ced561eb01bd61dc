"""German is complete: every string is marked, translated and compiled, and all of it says "Sie"."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import allauth
import pytest
from babel.messages.pofile import read_po
from django.template.base import Lexer, TokenType
from django.utils import translation

from deploy.messages import CATALOGUE, ROOT, SOURCES, complete

PO = ROOT / CATALOGUE
ALLAUTH_PO = Path(allauth.__file__).parent / "locale/de/LC_MESSAGES/django.po"
READ_ALOUD = {"aria-label", "aria-description", "title", "alt", "placeholder"}
ATTRIBUTES = (
    "root",
    "main_class",
    "theme",
    "coltype",
    "bodyclass",
)  # blocks of a template that stand inside of an HTML tag
SAME_IN_EVERY_LANGUAGE = re.compile(r"\b(Tally|UTC|CSV|JSON|API|Python|OpenAI|Markdown)\b")
WORD = re.compile(r"[^\W\d_]{2,}")
TOO_FAMILIAR = re.compile(r"\b(du|dir|dich|dein\w*|gib|lass)\b", re.IGNORECASE)
needs_gettext = pytest.mark.skipif(not shutil.which("xgettext"), reason="Debian's gettext is not installed")


def german():
    with PO.open("rb") as file:
        return [message for message in read_po(file, locale="de") if message.id]


@needs_gettext
def test_the_catalogue_has_every_string_in_german_and_is_what_its_command_writes(tmp_path):
    """If this fails: `python3 -m deploy.messages`, write the German that it names, and call it again."""
    for name in (*SOURCES, "locale"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    assert complete(tmp_path) == []
    assert (tmp_path / CATALOGUE).read_text() == PO.read_text()
    assert (tmp_path / CATALOGUE).with_suffix(".mo").read_bytes() == PO.with_suffix(".mo").read_bytes()


@needs_gettext
def test_a_new_string_is_named_and_one_that_changed_loses_its_german(tmp_path):
    page = tmp_path / "templates" / "page.html"
    page.parent.mkdir()
    page.write_text('{% translate "Buy many credits" %}')
    assert complete(tmp_path) == ["Buy many credits"]
    file = tmp_path / CATALOGUE
    file.write_text(file.read_text().replace('msgstr ""\n', 'msgstr "Viele Credits kaufen"\n').replace(
        'msgid ""\nmsgstr "Viele Credits kaufen"', 'msgid ""\nmsgstr ""', 1))  # fmt: skip
    assert complete(tmp_path) == []
    page.write_text('{% translate "Buy many more credits" %}')
    assert complete(tmp_path) == ["Buy many more credits"]
    assert "fuzzy" not in file.read_text()
    assert "Viele" not in file.read_text()


@needs_gettext
def test_translations_fill_in_the_same_values(tmp_path):
    # Into a file of its own: msgfmt removes its output before it writes, and would take /dev/null away from root.
    checked = subprocess.run(
        ["msgfmt", "--check-format", "-o", tmp_path / "django.mo", PO], check=False, capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr) == (0, "")


class Words(HTMLParser):
    """Collects what people read of a template, and what screen readers say, outside the marks of translation."""

    def __init__(self):
        super().__init__()
        self.found, self._hidden = [], 0

    def handle_starttag(self, tag, attrs):
        self._hidden += tag in ("script", "style")
        self.found += [value for name, value in attrs if name in READ_ALOUD and value]

    def handle_endtag(self, tag):
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data):
        if not self._hidden:
            self.found.append(data)


def unmarked(text):
    """The words of a template that no tag of translation holds."""
    outside, depth = [], 0
    for token in Lexer(text).tokenize():
        tag = token.contents if token.token_type == TokenType.BLOCK else ""
        depth += tag.split(" ")[0] in ("blocktranslate", "comment") or tag in (f"block {name}" for name in ATTRIBUTES)
        depth -= tag in ("endblocktranslate", "endcomment", *(f"endblock {name}" for name in ATTRIBUTES))
        if token.token_type == TokenType.TEXT and not depth:
            outside.append(token.contents)
    words = Words()
    words.feed("".join(outside))
    words.close()
    return [word for text in words.found for word in WORD.findall(SAME_IN_EVERY_LANGUAGE.sub("", text))]


def test_no_text_of_a_template_is_left_unmarked():
    files = [*(ROOT / "templates").rglob("*.html"), *(ROOT / "templates").rglob("*.txt")]
    # This one is put together of tags alone: there is no text in it, but HTML that cannot be read before it is made.
    files.remove(ROOT / "templates/allauth/elements/button.html")
    assert len(files) > 80
    found = {str(file.relative_to(ROOT)): unmarked(file.read_text()) for file in files}
    assert {name: words for name, words in found.items() if words} == {}


def test_an_unmarked_word_is_noticed():
    assert unmarked('<p title="Out">{% translate "In" %} {{ x }} Beside{# no #}</p>') == ["Out", "Beside"]
    assert unmarked("{% blocktranslate %}Within {{ x }}{% endblocktranslate %} · Tally") == []


def test_we_say_sie_and_so_does_the_log_in_library():
    ours = [text for message in german() for text in [message.string] if TOO_FAMILIAR.search(str(text))]
    assert ours == []
    with ALLAUTH_PO.open("rb") as file:
        theirs = [message.id for message in read_po(file, locale="de") if any(
            "/account/" in place.replace("socialaccount", "") for place, _line in message.locations)]  # fmt: skip
    assert len(theirs) > 100
    with translation.override("de"):
        texts = {text: translation.gettext(text) for text in theirs if isinstance(text, str)}
    assert [text for text, translated in texts.items() if TOO_FAMILIAR.search(translated)] == []
