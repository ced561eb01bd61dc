"""Nothing on the page jumps while an answer streams, and the page answers its reader at once, as a browser measures."""

import math

import pytest

from tests.chat.pages.browser import ask, path_of
from tests.support.cast import answered_talk

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume"),  # WhiteNoise's files, as in config.asgi
]
MOST_SHIFT = 0.01
ANSWER = [
    "A few words", "to begin", "with.\n\n", "##", "Then a heading\n\n", "A long", "paragraph " * 30, "ends.\n\n",
    "- one\n", "- two\n", "- three\n\n", "```python\n", "x = 1\n", "y = 2\n", "print(x + y)\n", "```\n\n",
    "| a | b |\n", "|---|---|\n", "| 1 | 2 |\n", "| 3 | 4 |\n\n", "\\[\n", "\\frac{1}{2}\n", "\\]\n\n", "The end.\n\n",
]  # fmt: skip
WATCH = """() => {
  window.shifts = []; window.waits = [];
  new PerformanceObserver((list) => {
    for (const one of list.getEntries()) if (!one.hadRecentInput) window.shifts.push([one.value,
      one.sources.map((source) => source.node?.className ?? source.node?.nodeName).join(" ")]);
  }).observe({ type: "layout-shift", buffered: true });
  new PerformanceObserver((list) => {
    for (const one of list.getEntries()) if (one.interactionId) window.waits.push(one.duration);
  }).observe({ type: "event", durationThreshold: 16, buffered: true });
}"""
BARE = "data:text/html,<!doctype html><textarea id=prompt></textarea>"


@pytest.mark.parametrize("size", [(390, 844), (1440, 900)])
@pytest.mark.parametrize("is_short", [True, False])
def test_nothing_jumps_while_an_answer_streams(open_page, alice, catalogue, engine, monkeypatch, size, is_short):
    monkeypatch.setattr("inference.engine.fake.WORDS", ANSWER)
    engine.step_seconds, engine.length = 0.03, 10 if is_short else 4 * len(ANSWER)
    look = {"viewport": {"width": size[0], "height": size[1]}}
    page = open_page(alice, path_of(answered_talk(alice, catalogue)), **look)
    page.wait_for_timeout(300)
    page.evaluate(WATCH)
    ask(page, "Go on")
    page.locator(".turn.it").nth(1).locator(".receipt").wait_for()
    page.wait_for_timeout(300)
    shifts = page.evaluate("shifts")
    assert sum(value for value, _what in shifts) <= MOST_SHIFT, shifts


def test_the_page_answers_its_reader_beside_a_bare_page(open_page, alice, catalogue, engine, capsys):
    """It prints how long typing takes to be painted, and asserts only that it was measured."""
    engine.step_seconds, engine.length = 0.02, 2_000
    page = open_page(alice, path_of(answered_talk(alice, catalogue)))
    page.evaluate(WATCH)
    ask(page, "Go on")
    ours = type_and_measure(page)
    page.goto(BARE)
    page.evaluate(WATCH)
    bare = type_and_measure(page)
    with capsys.disabled():
        print(f"\ninteraction to next paint, p75: {ours} ms while an answer streams, {bare} ms on a bare page")
    assert ours > 0
    assert bare > 0


def type_and_measure(page):
    """The 75th percentile of milliseconds from a key to its paint; 16 where all were quicker than the browser notes."""
    page.click("#prompt")
    page.keyboard.type("The quick brown fox jumps over the lazy dog.", delay=30)
    page.wait_for_timeout(500)
    count = 44
    waits = sorted(page.evaluate("waits"))
    quick = [16] * max(0, count - len(waits))
    return (quick + waits)[math.ceil(0.75 * max(count, len(waits))) - 1]
