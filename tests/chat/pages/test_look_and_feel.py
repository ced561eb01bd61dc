"""Small things of the chat page that people stumble over, in a real browser."""

import pytest
from django.urls import reverse

from chat.models import Message
from inference.catalogue import DEMO_KEY
from inference.models import CatalogueModel
from tests.chat.pages.browser import ask, hide, path_of
from tests.e2e.looking import look_at
from tests.support.cast import answered_talk
from tests.support.stack import wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume"),  # WhiteNoise's files, as in config.asgi
]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
HEBREW = "\u05e9\u05dc\u05d5\u05dd"
SOURCE = "# Title\n\nSome *words* and `code`.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
WIDE = "| name | what it is for |\n|---|---|\n" + "".join(
    f"| {'configuration_' * 4}{n} | unbreakable{'word' * 12} |\n" for n in range(3)
)


@pytest.fixture
def talk(alice):
    return answered_talk(alice, CatalogueModel.objects.get(key=DEMO_KEY))


def answer_is(talk, text):
    Message.objects.filter(conversation=talk, role="assistant").update(text=text)


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_send_stays_where_it_is_when_an_estimate_shows(open_page, alice, talk, size):
    page = open_page(alice, path_of(talk), **size)
    before = page.locator("#composer .go").bounding_box()
    model = page.locator("#composer .pick").bounding_box()
    assert model["x"] + model["width"] <= before["x"]
    page.fill("#prompt", "And a dog?")
    page.wait_for_selector("#estimate:has-text('at most')")
    assert page.locator("#composer .go").bounding_box() == before
    page.evaluate("document.querySelector('#estimate').append(' · limited by your cap')")
    assert page.locator("#composer .go").bounding_box() == before
    ask(page, "And a cat?")
    page.locator(".turn.it .receipt").nth(1).wait_for()
    assert page.locator("#composer .go").bounding_box() == before


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_a_wide_table_scrolls_in_its_own_box_and_its_words_stay_whole(open_page, alice, talk, size):
    answer_is(talk, WIDE)
    page = open_page(alice, path_of(talk), **size)
    lines = page.evaluate(
        "[...document.querySelectorAll('.said td')].map(cell => {"
        " const range = document.createRange(); range.selectNodeContents(cell);"
        " return range.getClientRects().length; })"
    )
    assert set(lines) == {1}
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("document.querySelector('#talk').scrollWidth <= document.querySelector('#talk').clientWidth")
    assert page.evaluate("(box => box.scrollWidth > box.clientWidth)(document.querySelector('.said .scroll'))")


def test_what_people_and_models_write_runs_as_its_words_do(open_page, alice, talk):
    hebrew, english = HEBREW, "Hello world"
    answer_is(talk, f"{hebrew}\n\n{english}\n\n- {hebrew}")
    talk.messages.filter(role="user").update(text=hebrew)
    type(talk).objects.update(title=hebrew)
    page = open_page(alice, path_of(talk))
    for place in (".turn.me .said", ".turn.it .said", ".top h1", ".list a[aria-current]"):
        assert page.eval_on_selector(place, "node => getComputedStyle(node).direction") == "rtl", place
    page.fill("#prompt", hebrew)
    assert page.eval_on_selector("#prompt", "node => getComputedStyle(node).direction") == "rtl"
    left_of = "node => { const range = document.createRange(); range.selectNodeContents(node);"
    left_of += " return range.getBoundingClientRect().left - node.getBoundingClientRect().left; }"
    first, second = [page.eval_on_selector(f".turn.it p:nth-of-type({n})", left_of) for n in (1, 2)]
    assert first > 100 > 1 > second


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_conversation_with_all_of_it_is_whole_and_accessible(open_page, alice, talk, size, scheme):
    answer_is(talk, f"Some \\( x_1 \\)\n\n{WIDE}\n\n{HEBREW}\n\n```python\nx = 1\n```\n")
    page = open_page(alice, path_of(talk), color_scheme=scheme, **size)
    page.fill("#prompt", "And a dog?")
    page.wait_for_selector("#estimate:has-text('at most')")
    look_at(page, f"talk-{scheme}-{size['viewport']['width']}")


MATHS = r"""Money doubles after \( t = \frac{\ln 2}{\ln(1 + r)} \) years, from $5 to $10. The roots are

\[
x_{1,2} = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}
\]

and $\mathbb{R}^n$ is a space. Then

$$\begin{aligned} f(x) &= \sum_{i=1}^{n} a_i x^i \\
&= \begin{cases} 1 & x > 0 \\ 0 & \text{otherwise} \end{cases} \end{aligned}$$

$$\begin{pmatrix} a & b \\ c & d \end{pmatrix} \cdot \vec{v} = \boxed{42}$$

- an item with \(a + b + c + d + e + f + g + h + i + j + k + l + m + n + o + p + q + r + s + t + u + v + w = 1\)

"""


@pytest.mark.parametrize("width", [320, 390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_formulas_are_drawn_and_never_wider_than_the_page(open_page, alice, talk, width, scheme):
    answer_is(talk, MATHS)
    page = open_page(alice, path_of(talk), color_scheme=scheme, viewport={"width": width, "height": 844})
    tops = page.eval_on_selector_all(
        ".formula mfrac > *", "parts => parts.map(part => part.getBoundingClientRect().top)"
    )
    assert tops[0] < tops[1]
    assert page.locator(".said math").count() == 6
    assert page.locator(".said li span.formula").count() == 1
    assert page.get_by_text("from $5 to $10").count() == 1
    equal_signs = ".formula mtd.left > mo:first-child"
    lefts = page.eval_on_selector_all(equal_signs, "signs => signs.map(sign => sign.getBoundingClientRect().left)")
    assert len(lefts) == 2
    assert max(lefts) - min(lefts) < 3
    assert page.evaluate("document.querySelector('#talk').scrollWidth <= document.querySelector('#talk').clientWidth")
    look_at(page, f"formulas-{scheme}-{width}")


def press(page, key, code):
    """A key as the browser gets it from the system, with the code that an input method gives it."""
    session = page.context.new_cdp_session(page)
    for kind in ("rawKeyDown", "keyUp"):
        session.send("Input.dispatchKeyEvent", {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code})


def test_enter_that_ends_a_word_of_an_input_method_does_not_send(open_page, alice, talk):
    page = open_page(alice, path_of(talk))
    page.fill("#prompt", "にほん")
    press(page, "Enter", 229)
    page.wait_for_timeout(500)
    assert talk.messages.count() == 2
    assert page.input_value("#prompt") == "にほん"
    press(page, "Enter", 13)
    page.wait_for_selector(".turn.me:has-text('にほん')")
    page.locator(".turn.it .receipt").nth(1).wait_for()  # no answer runs into the next test


def test_escape_stops_the_answer_only_where_it_closes_nothing_else(open_page, alice, talk, engine):
    engine.step_seconds, engine.length = 0.05, 400
    page = open_page(alice, path_of(talk))
    answer = ask(page, "Go on")
    page.wait_for_selector("[data-stop]")
    page.fill("[type=search]", "fox")
    page.press("[type=search]", "Escape")
    page.click(".account summary")
    page.press(".account summary", "Escape")
    page.wait_for_timeout(500)
    assert page.locator("[data-stop]").count() == 1
    page.press("#prompt", "Escape")
    answer.locator(".note:has-text('Stopped')").wait_for()


@pytest.mark.parametrize("host", ["tally.test", "127.0.0.1"])
def test_copy_gives_the_markdown_on_plain_http_too(open_page, chromium, alice, talk, host):
    answer_is(talk, SOURCE)
    page = open_page(alice, path_of(talk), host=host)
    assert page.evaluate("!!navigator.clipboard") is (host == "127.0.0.1")
    if host == "127.0.0.1":
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click(".it [data-copy]")
    page.wait_for_selector(".it [data-copy] use[href$='#check']")
    page.click(".it [data-copy]")
    page.wait_for_selector(".it [data-copy] use[href$='#copy']")
    page.focus("#prompt")
    page.keyboard.press("Control+V")
    assert page.input_value("#prompt") == SOURCE


@pytest.mark.parametrize("path", ["/", "/accounts/login/", "/credits/", "/credits/spending/", "/credits/buy/"])
def test_no_field_is_so_small_that_a_phone_zooms_in_on_it(open_page, alice, talk, path):
    page = open_page(alice, "/", **PHONE)
    if "login" in path:
        page.context.clear_cookies()
    page.goto(path)
    sizes = page.evaluate(
        "[...document.querySelectorAll('input:not([type=hidden]), select, textarea')]"
        ".map(field => [field.name, parseFloat(getComputedStyle(field).fontSize)])"
    )
    assert sizes
    assert [field for field in sizes if field[1] < 16] == []


def test_a_tab_that_was_open_before_learns_of_the_answer_and_can_stop_it(open_page, alice, talk, engine):
    engine.step_seconds, engine.length = 0.05, 400
    first = open_page(alice, path_of(talk))
    second = first.context.new_page()
    second.goto(path_of(talk))
    ask(first, "Asked in the first")
    second.fill("#prompt", "Asked in the second")
    second.press("#prompt", "Enter")
    second.wait_for_selector("#compose-error .note:has-text('still being written')")
    assert second.input_value("#prompt") == "Asked in the second"
    wait_until(lambda: len(second.locator(".turn.it .said").last.inner_text()) > 20, 10, "text in the second")
    second.click("[data-stop]")
    for page in (first, second):
        page.locator(".turn.it").last.locator(".note:has-text('Stopped')").wait_for()
        assert page.locator(".turn.it").count() == 2


def test_six_tabs_that_stream_do_not_block_the_seventh(open_page, alice, catalogue, engine):
    engine.step_seconds, engine.length = 0.05, 400
    first = open_page(alice)
    tabs = [first, *(first.context.new_page() for _tab in range(5))]
    for tab in tabs:
        tab.goto("/")
        tab.fill("#prompt", "Go on and on")
        tab.press("#prompt", "Enter")
        wait_until(lambda: tab.locator(".turn.it .said").count(), 10, "an answer")  # noqa: B023  called at once
        wait_until(lambda: len(tab.locator(".said").last.inner_text()) > 20, 10, "some text")  # noqa: B023
        hide(tab, True)
    seventh = first.context.new_page()
    seventh.goto("/")
    assert seventh.locator("#composer").count() == 1
    before = first.locator(".said").last.inner_text()
    hide(first, False)
    wait_until(lambda: len(first.locator(".said").last.inner_text()) > len(before) + 20, 10, "more text")
    assert first.locator(".said").last.inner_text().startswith(before[:20])
    for tab in tabs:
        hide(tab, False)
        tab.click("[data-stop]")
        tab.locator(".turn.it .receipt").wait_for()
    [written] = {
        message.text for message in Message.objects.filter(conversation__id=first.url.split("/")[-2], role="assistant")
    }
    assert first.locator(".said").last.inner_text().split() == written.split()


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_error_is_a_page_with_a_way_back(open_page, alice, charlie, talk, size, scheme):
    page = open_page(charlie, "/", color_scheme=scheme, **size)
    name = f"{scheme}-{size['viewport']['width']}"
    for status, path, words in (
        (404, "/nowhere", "There is nothing here"),
        (404, path_of(talk), "There is nothing here"),
        (405, reverse("chat:send_new"), "This address is not for visiting"),
    ):
        answer = page.goto(path)
        assert (answer.status, page.locator("h1").inner_text()) == (status, words)
        look_at(page, f"error-{status}-{name}")
        page.click("a.btn.go")
        page.wait_for_selector("#composer")
    page.context.clear_cookies(name="csrftoken")
    page.evaluate("document.querySelector('#composer').removeAttribute('hx-post'); htmx.config.x = 1")
    page.evaluate("HTMLFormElement.prototype.submit.call(document.querySelector('#composer'))")
    page.wait_for_selector("h1:has-text('This page was too old')")
    look_at(page, f"error-csrf-{name}")


def test_what_a_customer_has_no_right_to_is_a_page_too(client, alice, settings):
    client.force_login(alice)
    for path, status in (
        ("/send/", 405),
        ("/nowhere/", 404),
        (reverse("chat:stop", args=["0" * 8 + "-0000-4000-8000-" + "0" * 12]), 405),
    ):
        answer = client.get(path)
        assert answer.status_code == status
        assert b'class="brand"' in answer.content
        assert b'href="/"' in answer.content
    assert client.get("/send/")["Allow"] == "POST"
    assert client.head("/send/").status_code == 405
