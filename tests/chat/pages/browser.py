"""What the tests of the chat pages in a real browser do again and again."""

from typing import Any

from chat.models import Conversation


def ask(page: Any, text: str) -> Any:
    """Send a prompt and wait for the article of its answer."""
    before = page.locator(".turn.it").count()
    page.fill("#prompt", text)
    page.press("#prompt", "Enter")
    page.wait_for_function("n => document.querySelectorAll('.turn.it').length > n", arg=before)
    return page.locator(".turn.it").last


def path_of(talk: Conversation) -> str:
    """Where its page is."""
    return talk.get_absolute_url()


def hide(page, is_hidden):
    """As the browser does when another tab is chosen; a page that Playwright drives always counts as shown."""
    page.evaluate(
        "hidden => { Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        is_hidden,
    )
