"""The pages of nginx in a real browser, the script for certificates, and what the README tells of the variables."""

import re
import subprocess

import pytest
from django.conf import settings

from tests.support.nginx import needs_nginx
from tests.support.site_nginx import FILES

pytestmark = needs_nginx

SIZES = {"phone": {"width": 320, "height": 640}, "desktop": {"width": 1280, "height": 800}}
PAGES = {path.name for path in (FILES / "pages").glob("*.html")}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_page_of_an_application_that_is_away_keeps_its_own_policy(away, chromium, scheme, size):
    context = chromium.new_context(ignore_https_errors=True, color_scheme=scheme, viewport=SIZES[size])
    page, told = context.new_page(), []
    page.on("console", lambda message: told.append(message.text))
    page.goto(f"{away.url}/c/1/")
    style = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert style == {"light": "rgb(253, 252, 249)", "dark": "rgb(24, 23, 21)"}[scheme]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.get_by_role("heading", level=1).inner_text() == "Back in a moment"
    page.get_by_role("link", name="Try again").click()
    assert page.url == f"{away.url}/c/1/"
    context.close()
    assert [words for words in told if "503" not in words] == []


def test_every_page_has_no_script_and_no_style_of_its_own():
    assert len(PAGES) == 4
    for name in PAGES:
        text = (FILES / "pages" / name).read_text()
        assert not re.search(r"<script|<style|style=|\son\w+=|https?:", text), name


def test_the_answers_of_nginx_are_not_there_by_themselves(away, visit):
    for name in ("503.html", "answers.conf", "429.problem", ""):
        assert visit(away).get(f"/_tally/{name}").status_code == 404
    assert visit(away).get("/_tally/pages.css").status_code == 200


def test_the_readme_names_every_variable():
    used = set(re.findall(r"\$\{(TALLY_\w+)\}", (FILES / "templates" / "tally.conf.template").read_text()))
    told = set(re.findall(r"`(TALLY_\w+)`", (FILES / "README.md").read_text()))
    assert used == told


def test_nginx_is_more_patient_than_the_application():
    text = (FILES / "templates" / "tally.conf.template").read_text()
    [patience] = re.findall(r"proxy_read_timeout (\d+)s;", text)
    assert int(patience) > settings.QUEUE_WAIT_SECONDS + settings.GENERATION_SECONDS


def test_a_certificate_is_made_once(tmp_path):
    command = [FILES / "self_signed.sh", "tally.example", tmp_path / "certificates"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    key, chain = tmp_path / "certificates/privkey.pem", tmp_path / "certificates/fullchain.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    text = subprocess.run(
        ["openssl", "x509", "-in", chain, "-noout", "-ext", "subjectAltName", "-checkend", str(360 * 86_400)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "DNS:tally.example" in text
    before = key.read_bytes()
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "stays as it is" in again.stderr
    assert key.read_bytes() == before
    assert subprocess.run(command[:1], capture_output=True, check=False).returncode == 2
