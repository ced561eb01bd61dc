"""What customers do with messages, in a real browser: phone and desktop, light and dark, and without scripts."""

import pytest

from billing.models import Hold
from chat.models import Conversation, Message
from chat.pages.turns import PAGE_MESSAGES
from inference.catalogue import DEMO_KEY
from inference.models import CatalogueModel, Generation
from tests.chat.pages.browser import ask, path_of
from tests.e2e.looking import look_at
from tests.support.cast import answered_talk
from tests.support.stack import wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume"),  # WhiteNoise's files, as in config.asgi
]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESKTOP = {"viewport": {"width": 1440, "height": 900}}
LOOKS = pytest.mark.parametrize(
    "look",
    [size | {"color_scheme": scheme} for size in (PHONE, DESKTOP) for scheme in ("light", "dark")],
    ids=lambda look: f"{look['color_scheme']}-{look['viewport']['width']}",
)
CODE = "## Divide 72\n\nMoney **doubles**:\n\n```python\ndef years(rate):\n    return 72 / rate\n```\n"
OTHER = "smollm2-135m"


@pytest.fixture
def talk(alice):
    return answered_talk(alice, CatalogueModel.objects.get(key=DEMO_KEY))


@pytest.fixture
def opens(open_page, alice, talk):
    """Call it with options for the page of the conversation."""
    return lambda **options: open_page(alice, path_of(talk), **options)


def name_of(look):
    return f"{look['color_scheme']}-{look['viewport']['width']}"


def finished(page, count):
    """Wait until this many answers on the page have ended."""
    page.wait_for_function("n => document.querySelectorAll('.turn.it .receipt').length === n", arg=count)
    wait_until(lambda: not Generation.objects.live().exists(), 10, "the end of all answers")


def texts(page):
    return [each.strip() for each in page.locator(".turn .said").all_inner_texts()]


@LOOKS
def test_every_action_is_there_whole_and_accessible(opens, talk, look):
    Message.objects.filter(role="assistant").update(text=CODE)
    Message.objects.filter(role="user").update(text="\n".join(f"2026-01-{n:02} Fee, 4.90" for n in range(1, 29)))
    page = opens(**look)
    labels = page.locator(".turn .icon").evaluate_all("all => all.map(each => each.getAttribute('aria-label'))")
    assert labels == [
        "Copy the prompt",
        "Edit the prompt",
        "Delete the prompt and its answer",
        "Copy",
        "Regenerate",
        "Good answer",
        "Bad answer",
    ]
    look_at(page, f"actions-{name_of(look)}")
    for what in ("edit", "delete", "retry"):
        page.locator(f"[id^={what}-]").dispatch_event("click")
        page.wait_for_selector(".ask")
        assert page.evaluate("(talk => talk.scrollWidth <= talk.clientWidth)(document.querySelector('#talk'))")
        look_at(page, f"actions-{what}-{name_of(look)}")
        page.keyboard.press("Escape")
        page.wait_for_selector(".ask", state="detached")
        assert page.evaluate("document.activeElement.id").startswith(what)


@LOOKS
def test_an_answer_is_regenerated_once_and_the_switcher_shows_both(opens, talk, look, faults):
    page = opens(**look)
    page.click("[id^=retry-]")
    page.wait_for_selector(".ask .cost:has-text('at most')")
    page.locator(".ask .go").dblclick()
    page.wait_for_function("() => document.activeElement.matches('.turn.it')")
    page.wait_for_selector(".versions:has-text('2 / 2')")
    finished(page, 1)
    assert Generation.objects.count() == Hold.objects.count() == 2
    look_at(page, f"versions-{name_of(look)}")
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate("(talk => talk.scrollWidth <= talk.clientWidth)(document.querySelector('#talk'))")
    page.set_viewport_size(look["viewport"])
    before = page.locator("[id^=before-]")
    place = before.bounding_box()
    before.click()
    page.wait_for_selector(".versions:has-text('1 / 2')")
    assert "secret answer" in texts(page)[1]
    assert page.evaluate("document.activeElement.id").startswith("before-")
    assert abs(page.locator("[id^=before-]").bounding_box()["y"] - place["y"]) < 2
    page.reload()
    assert page.locator(".versions").inner_text().split() == ["1", "/", "2"]
    page.click("[id^=after-]")
    page.wait_for_selector(".versions:has-text('2 / 2')")
    assert faults() == []


def test_another_model_regenerates_at_its_own_price(opens, talk):
    CatalogueModel.objects.filter(key=OTHER).update(unavailable_reason="")
    page = opens()
    page.click("[id^=retry-]")
    first = page.locator(".ask .cost").inner_text()
    page.select_option(".ask select", OTHER)
    page.wait_for_function("before => document.querySelector('.ask .cost').innerText !== before", arg=first)
    assert page.evaluate("document.activeElement.name") == "model"
    page.click(".ask .go")
    page.wait_for_selector(".turn.it.live h2:has-text('SmolLM2')")
    page.click("[data-stop]")
    finished(page, 1)


@LOOKS
def test_a_prompt_is_edited_as_a_branch_and_its_cost_is_said_first(opens, talk, look, faults):
    page = opens(**look)
    ask(page, "And a dog?")
    finished(page, 2)
    page.locator("[id^=edit-]").nth(1).dispatch_event("click")
    assert page.input_value(".ask textarea") == "And a dog?"
    said = page.locator(".ask .cost").inner_text()
    page.fill(".ask textarea", "And a cat? " * 60)
    page.wait_for_function("before => document.querySelector('.ask .cost').innerText !== before", arg=said)
    assert "at most" in page.locator(".ask .cost").inner_text()
    page.fill(".ask textarea", "And a cat?")
    page.click(".ask .go")
    page.wait_for_selector(".versions:has-text('2 / 2')")
    finished(page, 2)
    assert [text for text in texts(page) if text.endswith("?")] == ["And a cat?"]
    page.locator("[id^=before-]").dispatch_event("click")
    page.wait_for_selector(".turn.me:has-text('And a dog?')")
    assert page.locator(".turn").count() == 4
    page.locator("[id^=edit-]").first.dispatch_event("click")
    page.fill(".ask textarea", "All anew")
    page.click(".ask .go")
    page.wait_for_selector(".turn.me:has-text('All anew')")
    finished(page, 1)
    ask(page, "And then?")
    finished(page, 2)
    assert Message.objects.get(text="And then?").parent.parent.text == "All anew"
    assert faults() == []


@LOOKS
def test_an_answer_that_reached_its_length_is_continued_as_one_text(opens, talk, look, faults):
    Generation.objects.update(finish_reason="length")
    page = opens(**look)
    page.click(".continue")
    page.wait_for_selector(".ask .cost:has-text('at most')")
    page.locator(".ask .go").dblclick()
    page.wait_for_selector(".turn.it .receipt >> nth=1")
    finished(page, 2)
    assert page.locator(".turn").count() == 2
    assert texts(page)[1] == "secret answerThe quick brown fox jumps over"
    look_at(page, f"continued-{name_of(look)}")
    ask(page, "And then?")
    finished(page, 3)
    assert faults() == []


@LOOKS
def test_a_prompt_is_deleted_with_its_answer_and_what_follows_stays(opens, talk, look, faults):
    page = opens(**look)
    ask(page, "And a dog?")
    finished(page, 2)
    page.locator("[id^=delete-]").first.dispatch_event("click")
    page.wait_for_selector(".ask:has-text('stays in your history')")
    page.click(".ask .go")
    page.wait_for_function("() => document.querySelectorAll('.turn').length === 2")
    assert texts(page)[0] == "And a dog?"
    assert Hold.objects.count() == 2
    ask(page, "And a cat?")
    finished(page, 2)
    assert faults() == []


@LOOKS
def test_an_answer_is_marked_and_the_mark_is_taken_back(opens, talk, look):
    page = opens(**look)
    answer = talk.messages.last()
    for button, rating in (("good", 1), ("bad", -1), ("bad", None)):
        page.click(f"#{button}-{answer.pk}")
        wait_until(lambda: Message.objects.get(pk=answer.pk).rating == rating, 10, "the mark")  # noqa: B023
        page.wait_for_selector(f"#{button}-{answer.pk}[aria-pressed={'true' if rating else 'false'}]")
        assert page.evaluate("document.activeElement.id") == f"{button}-{answer.pk}"
    page.click(f"#good-{answer.pk}")
    page.wait_for_selector("[aria-pressed=true]")
    look_at(page, f"marked-{name_of(look)}")


@LOOKS
def test_a_long_prompt_is_folded_and_unfolds(opens, talk, look):
    Message.objects.filter(role="user").update(text="\n".join(f"line {n}" for n in range(212)))
    page = opens(**look)
    assert page.locator(".turn.me .words").bounding_box()["height"] <= 120
    page.get_by_text("Show all 212 lines").click()
    assert page.locator(".turn.me .words").bounding_box()["height"] > 2_000
    page.get_by_text("Show less").click()
    page.focus(".unfold")
    page.keyboard.press("Space")
    assert page.locator(".turn.me .words").bounding_box()["height"] > 2_000
    look_at(page, f"unfolded-{name_of(look)}")


@LOOKS
def test_code_has_a_head_with_its_language_and_is_copied(opens, talk, look):
    Message.objects.filter(role="assistant").update(text=CODE)
    page = opens(**look)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    assert page.locator(".block figcaption").inner_text().split() == ["Python", "Copy"]
    page.click("[data-copy-code]")
    page.wait_for_selector("[data-copy-code]:has-text('✓')")
    page.focus("#prompt")
    page.keyboard.press("Control+V")
    assert page.input_value("#prompt") == "def years(rate):\n    return 72 / rate"
    heading = page.locator(".it .said h2")
    assert heading.evaluate("node => getComputedStyle(node).fontSize") == "18px"


def test_code_that_is_being_written_is_one_block_and_is_copied_whole(opens, talk, engine, monkeypatch):
    lines = "".join(f"def f{n}(): return {n}\n" for n in range(100))
    monkeypatch.setattr("inference.engine.fake.WORDS", ["```python\n" + lines, "x = 1"])
    engine.step_seconds, engine.length = 0.2, 400
    page = opens()
    ask(page, "Write code")
    page.wait_for_selector(".blocks .block.more")
    assert page.locator(".turn.live figcaption").count() == 1
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click(".turn.live [data-copy-code]")
    page.wait_for_selector(".turn.live [data-copy-code]:has-text('✓')")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(lines.strip())
    page.click("[data-stop]")
    finished(page, 2)


def test_screen_readers_hear_finished_blocks_and_the_last_one_once(opens, talk, engine, monkeypatch):
    monkeypatch.setattr("inference.engine.fake.WORDS", ["One.\n\n", "Two.\n\n", "Three."])
    engine.step_seconds, engine.length = 1.5, 3
    page = opens()
    ask(page, "Count")
    page.wait_for_selector(".turn.live .blocks p")
    live = page.evaluate(
        "['.blocks p', '.tail'].map(place =>"
        " document.querySelector(`.turn.live ${place}`).closest('[aria-live]')?.getAttribute('aria-live') ?? 'off')"
    )
    assert live == ["polite", "off"]
    finished(page, 2)
    assert page.locator("#heard").inner_text().strip() == "Three."


def test_two_tabs_each_go_on_from_what_they_show(opens, talk, faults):
    first = opens()
    second = first.context.new_page()
    second.goto(path_of(talk))
    first.click("[id^=retry-]")
    first.click(".ask .go")
    first.wait_for_selector(".versions:has-text('2 / 2')")
    finished(first, 1)
    ask(second, "Of the answer that this tab shows")
    finished(second, 2)
    prompt = Message.objects.get(text__startswith="Of the answer")
    assert prompt.parent.text == "secret answer"
    assert "secret answer" in texts(second)[1]
    first.reload()
    assert first.locator(".versions").inner_text().split() == ["1", "/", "2"]
    first.click("[id^=after-]")
    first.wait_for_selector(".versions:has-text('2 / 2')")
    assert first.locator(".turn").count() == 2
    assert faults() == []


def test_what_another_tab_deleted_says_so_and_the_draft_stays(opens, talk, faults):
    first = opens()
    ask(first, "And a dog?")
    finished(first, 2)
    second = first.context.new_page()
    second.goto(path_of(talk))
    first.locator("[id^=delete-]").nth(1).dispatch_event("click")
    first.click(".ask .go")
    first.wait_for_function("() => document.querySelectorAll('.turn').length === 2")
    for what in ("retry", "edit", "delete"):
        second.evaluate("document.querySelector('#compose-error').replaceChildren()")
        second.locator(f"[id^={what}-]").nth(1).dispatch_event("click")
        second.wait_for_selector("#compose-error:has-text('deleted meanwhile')")
        assert second.locator(".ask").count() == 0
    second.evaluate("document.querySelector('#compose-error').replaceChildren()")
    second.fill("#prompt", "My long thought")
    second.press("#prompt", "Enter")
    second.wait_for_selector("#compose-error:has-text('deleted meanwhile')")
    assert second.input_value("#prompt") == "My long thought"
    second.reload()
    assert second.input_value("#prompt") == "My long thought"
    assert Hold.objects.count() == 2
    assert faults() == []


@LOOKS
def test_a_long_conversation_shows_its_end_and_loads_earlier_messages(opens, talk, look):
    fill(talk, 130)
    page = opens(**look)
    assert page.locator(".turn").count() == PAGE_MESSAGES
    assert "prompt 129" in texts(page)[-1]
    page.evaluate("document.querySelector('#talk').scrollTop = 0")
    first = page.locator(".turn").first
    top, words = first.bounding_box()["y"], first.inner_text()
    page.click(".earlier a")
    page.wait_for_function("n => document.querySelectorAll('.turn').length === n", arg=2 * PAGE_MESSAGES)
    there = page.locator(".turn").nth(PAGE_MESSAGES)
    assert there.inner_text() == words
    assert abs(there.bounding_box()["y"] - top) < 60  # its place on the screen, but for the button that went
    look_at(page, f"earlier-{name_of(look)}")
    page.click(".earlier a")
    page.wait_for_function("() => document.querySelectorAll('.turn').length === 132")
    assert page.locator(".earlier").count() == 0


def fill(talk, count):
    """Add this many prompts to a conversation, each after the one before."""
    last = talk.messages.last()
    for number in range(count):
        last = talk.messages.create(role="user", text=f"prompt {number}", parent=last)
    Conversation.objects.filter(pk=talk.pk).update(tip=last)


@LOOKS
def test_each_form_is_a_page_of_its_own_too(opens, talk, look):
    page = opens(**look)
    prompt, answer = talk.messages.first(), talk.messages.last()
    for what, heading in (("retry", "Write an answer again"), ("edit", "Edit a prompt"), ("delete", "Delete a prompt")):
        page.goto(f"/m/{prompt.pk if what == 'edit' else answer.pk}/{what}/")
        page.wait_for_selector(f"h1:has-text('{heading}')")
        look_at(page, f"form-{what}-{name_of(look)}")


def test_without_scripts_everything_works_too(opens, talk, faults):
    page = opens(java_script_enabled=False)
    page.click("[id^=retry-]")
    page.wait_for_selector("h1:has-text('Write an answer again')")
    assert "at most" in page.locator(".cost").inner_text()
    page.click(".ask .go")
    wait_until(lambda: not Generation.objects.live().exists(), 10, "the answer")
    page.goto(path_of(talk))
    page.click("[id^=before-]")
    assert page.locator(".versions").inner_text().split() == ["1", "/", "2"]
    page.click("[id^=good-]")
    assert page.locator("[id^=good-]").get_attribute("aria-pressed") == "true"
    page.locator(".turn.me").hover()
    page.click("[id^=edit-]")
    page.fill(".ask textarea", "Another question")
    page.click(".ask button[formaction]")
    page.wait_for_load_state()
    assert "at most" in page.locator(".ask .cost").inner_text()
    assert page.input_value(".ask textarea") == "Another question"
    page.click(".ask .go")
    wait_until(lambda: not Generation.objects.live().exists(), 10, "the answer")
    page.goto(path_of(talk))
    assert "Another question" in texts(page)[0]
    page.locator(".turn.me").hover()
    page.click("[id^=delete-]")
    page.click(".ask .go")
    assert texts(page)[0] == "secret question"
    assert faults() == []
