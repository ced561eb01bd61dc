"""The operator's terms and privacy text: pages if there is a text, and nothing if there is none."""

import os
import subprocess
import sys

import pytest
from django.conf import settings as django_settings

TEXT = (
    "# Terms of *this* house\n\n## Money\n\nPay **before**.\n\n<script>alert(1)</script>\n\n[x](javascript:alert(1))\n"
)
PAGES = [("/terms/?lang=en", "TERMS"), ("/privacy/?lang=en", "PRIVACY")]
LINKED_FROM = ["/", "/pricing/", "/status/", "/accounts/login/", "/accounts/signup/"]


@pytest.mark.parametrize(("path", "name"), PAGES)
def test_a_text_is_a_page_for_everybody_without_a_query(client, db, settings, path, name, django_assert_num_queries):
    setattr(settings, name, TEXT)
    with django_assert_num_queries(0):
        page = client.get(path)
    body = page.content.decode()
    assert page.status_code == 200
    assert "<strong>before</strong>" in body
    assert "<h2>Money</h2>" in body
    assert set(page["Cache-Control"].replace(" ", "").split(",")) == {"public", "max-age=60"}
    assert "Cookie" not in page.get("Vary", "")
    assert not page.cookies
    assert client.get(path, headers={"If-None-Match": page["ETag"]}).status_code == 304


def test_the_first_heading_of_the_text_is_that_of_the_page(client, db, settings):
    settings.TERMS = TEXT
    body = client.get("/terms/").content.decode()
    assert "<h1>Terms of *this* house</h1>" in body
    assert body.count("<h1") == 1
    settings.TERMS = "No heading."
    assert "<h1>Terms</h1>" in client.get("/terms/").content.decode()


def test_markup_of_the_text_is_sanitised(client, db, settings):
    settings.TERMS = TEXT
    body = client.get("/terms/").content.decode()
    assert "<script>alert" not in body
    assert 'href="javascript' not in body


@pytest.mark.parametrize(("path", "name"), PAGES)
def test_without_a_text_there_is_neither_a_page_nor_a_link(client, catalogue, settings, path, name):
    setattr(settings, name, "")
    missing = client.get(path)
    assert missing.status_code == 404
    assert "public" not in missing.get("Cache-Control", "")
    assert [place for place in LINKED_FROM if f'href="{path}"' in client.get(place).content.decode()] == []


@pytest.mark.parametrize(("path", "name"), PAGES)
def test_with_a_text_every_public_page_leads_to_it(client, catalogue, settings, path, name):
    setattr(settings, name, TEXT)
    assert [place for place in LINKED_FROM if f'href="{path}"' not in client.get(place).content.decode()] == []


def test_customers_find_it_in_their_menu(client, alice, settings):
    settings.TERMS = TEXT
    client.force_login(alice)
    body = client.get("/").content.decode()
    assert [path for path in ("/terms/", "/status/", "/pricing/") if f'href="{path}?lang=en"' not in body] == []


def test_the_text_comes_from_the_file_that_terms_file_names(tmp_path):
    file = tmp_path / "terms.md"
    file.write_text("# Nutzung\n\nFür alle.\n")
    code = "from django.conf import settings; print(ascii(settings.TERMS), ascii(settings.PRIVACY))"
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TERMS_FILE": str(file), "DJANGO_SETTINGS_MODULE": "config.settings.test"},
        cwd=django_settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == r"'# Nutzung\n\nF\xfcr alle.' ''"
