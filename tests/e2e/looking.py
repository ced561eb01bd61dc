"""A page as a browser shows it: whole, and accessible."""

import logging
import os
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Error

logger = logging.getLogger(__name__)


def look_at(page, name):
    """Check what holds on every page: no sideways scrolling, no violation that axe finds."""
    page.wait_for_load_state()  # with its styles: a click waits only for the first byte
    page.wait_for_timeout(250)  # what fades in is as it will be
    if folder := os.environ.get("TALLY_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} scrolls sideways"
    violations = Axe().run(page).response["violations"]
    found = [(v["id"], [node["html"][:120] for node in v["nodes"]]) for v in violations]
    assert not found, f"{name}: {found}"


def close(context):
    """Close a browser's context. What its pages show is logged before, which pytest tells of a test that failed."""
    for page in context.pages:
        try:
            logger.warning("%s shows:\n%s", page.url, page.inner_text("body", timeout=2_000))
        except Error as error:
            logger.warning("%s shows nothing: %s", page.url, error)
    context.close()
