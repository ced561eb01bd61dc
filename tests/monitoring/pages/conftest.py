"""Pages in a real browser."""

from tests.chat.conftest import _queries_beside_playwright, open_page  # noqa: F401  fixtures
