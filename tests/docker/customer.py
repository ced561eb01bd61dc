"""Somebody at the site: signs up in a browser, asks with a key."""

import re
from typing import Any
from uuid import uuid4

import httpx

from tests.docker.site import DOMAIN, HTTPS_PORT, Site
from tests.e2e.asking import STORY_TELLER
from tests.support.stack import wait_until

PASSWORD = "a-cat-counts-stars-2026"
LINK = re.compile(rf"https://{DOMAIN}:{HTTPS_PORT}/accounts/confirm-email/[^\s'\"]+")
NEW_KEY = """
from accounts import api_keys
from accounts.models import User
print(api_keys.create_key(user=User.objects.get(email={email!r}), name="test", scopes=["chat"])[1])
"""


def new_address() -> str:
    """An e-mail address that nobody has."""
    return f"docker-{uuid4().hex[:8]}@example.com"


def sign_up(site: Site, page: Any, email: str) -> None:
    """As a newcomer does: the form, the mail, the link in it."""
    before = len(LINK.findall(site.mails()))
    page.goto("/accounts/signup/")
    page.fill("[name=email]", email)
    page.fill("[name=password1]", PASSWORD)
    page.fill("[name=password2]", PASSWORD)
    page.click("button[type=submit]")
    links = wait_until(lambda: LINK.findall(site.mails())[before:], 60, "the mail with the link")
    page.goto(links[0])
    page.get_by_role("button", name="Confirm").click()
    page.wait_for_url(f"{site.url}/")


def log_in(page: Any, email: str) -> None:
    """By the form."""
    page.goto("/accounts/login/")
    page.fill("[name=login]", email)
    page.fill("[name=password]", PASSWORD)
    page.click("button[type=submit]")


def new_key(site: Site, email: str) -> str:
    """A key for programs."""
    return site.manage("shell", "--no-imports", "-c", NEW_KEY.format(email=email)).splitlines()[-1]


def generate(key: str, *, tokens: int) -> None:
    """An answer by the API. Raises httpx.HTTPError where it breaks or is refused."""
    body = {"model": STORY_TELLER, "prompt": "Once upon a time", "max_tokens": tokens, "temperature": 0.8}
    with httpx.Client(verify=False, timeout=120) as client:  # the certificate is self-signed
        client.post(
            f"https://127.0.0.1:{HTTPS_PORT}/api/v1/generations",
            json=body,
            headers={"Host": f"{DOMAIN}:{HTTPS_PORT}", "Authorization": f"Bearer {key}"},
            extensions={"sni_hostname": DOMAIN},  # no name server knows the domain
        ).raise_for_status()
