"""What a browser or a program is called, from the User-Agent that it sends. It is what it says about itself."""

import re

from django.utils.translation import gettext as _

# The first that fits counts: most browsers name those that they descend from, too.
_BROWSERS = (
    (r"Edg(e|A|iOS)?/", "Edge"),
    (r"OPR/|Opera", "Opera"),
    (r"SamsungBrowser/", "Samsung Internet"),
    (r"Firefox/|FxiOS/", "Firefox"),
    (r"Chrome/|CriOS/|Chromium/", "Chrome"),
    (r"Safari/", "Safari"),
)
_SYSTEMS = (
    (r"iPhone", "iPhone"),
    (r"iPad", "iPad"),
    (r"Android", "Android"),
    (r"Windows", "Windows"),
    (r"Mac OS X|Macintosh", "Mac"),
    (r"CrOS", "ChromeOS"),
    (r"Linux|X11", "Linux"),
)
_MOST_CHARACTERS = 40


def name_of(user_agent: str) -> str:
    """Return for example "Firefox on Linux", or the first word of a program, such as "python-requests/2.32"."""
    browser, system = _first(_BROWSERS, user_agent), _first(_SYSTEMS, user_agent)
    if browser and system:
        return _("{browser} on {system}").format(browser=browser, system=system)
    return browser or (user_agent.split(maxsplit=1) or [_("Unknown device")])[0][:_MOST_CHARACTERS]


def is_phone(user_agent: str) -> bool:
    """Whether it says that it runs on a phone or a tablet."""
    return bool(re.search(r"iPhone|iPad|Android|Mobile", user_agent))


def _first(known: tuple[tuple[str, str], ...], user_agent: str) -> str:
    return next((name for pattern, name in known if re.search(pattern, user_agent)), "")
