"""What strangers see: the landing page and the prices, live, kept by caches only where that is safe."""

import html
import re

import pytest
from django.urls import reverse

from billing.ledger.price_changes import add_price
from billing.models import Package
from billing.topups.packages import seed_packages
from inference.catalogue import DEMO_KEY
from inference.models import CatalogueModel
from tests.support.databases.redis_admin import admin

PUBLIC = ["/pricing/?lang=en"]  # an address that names its language: caches may keep it


def words(response):
    """The text of a page as it is read, with its spaces as browsers show them."""
    body = re.sub(r"<(script|template|title).*?</\1>", "", response.content.decode(), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_a_stranger_learns_at_the_front_door_what_it_is_and_what_it_costs(client, catalogue):
    seed_packages()
    page = client.get("/")
    text = words(page)
    assert page.status_code == 200
    assert "The chat that shows its price." in text
    assert "Gemma 3 270M demo" in text
    assert "0.02 0.04 0.017" in text  # in and out for 1,000 tokens, and about what an answer costs
    assert "Start with 10 free credits" in text
    assert "10 credits pay for about 600 answers of Gemma 3 270M demo." in text  # 10 credits / 0.01624, rounded down
    assert "$5 500 credits" in text
    assert "$20 2,000 credits and 100 as a bonus" in text
    assert "Or any amount from $1 to $1,000. One USD buys 100 credits." in text
    assert "You pay nothing" in text
    for name in ("account_login", "account_signup", "chat:pricing", "billing:who_pays", "api:redoc"):
        assert f'href="{reverse(name)}' in page.content.decode(), name


def test_the_page_has_a_title_and_a_description(client, catalogue):
    for path, title in (("/", "The chat that shows its price"), ("/pricing/", "Prices")):
        page = client.get(path).content.decode()
        assert " ".join(re.search("<title>(.*?)</title>", page, re.DOTALL)[1].split()) == f"{title} · Tally"
        assert len(re.search('<meta name="description"\\s+content="(.*?)"', page, re.DOTALL)[1].strip()) > 50
        assert page.count("<h1") == 1


def test_a_model_that_cannot_be_asked_says_so_in_words_for_customers(client, catalogue):
    CatalogueModel.objects.exclude(key=DEMO_KEY).update(is_active=False)
    CatalogueModel.objects.filter(key=DEMO_KEY).update(unavailable_reason="Run manage.py prepare_models in MODEL_DIR.")
    for path in ("/", "/pricing/"):
        text = words(client.get(path))
        assert "not offered now" in text
        assert "ready" not in text
        assert "prepare_models" not in text


def test_without_a_model_there_is_still_a_page(client, db):
    for path in ("/", "/pricing/"):
        assert "No model is on offer at the moment." in words(client.get(path))


def test_without_a_payment_provider_or_a_bonus_neither_is_promised(client, catalogue, settings):
    seed_packages()
    settings.PAYMENT_PROVIDERS, settings.SIGNUP_BONUS_MICROCREDITS = {}, 0
    for path in ("/", "/pricing/"):
        text = words(client.get(path))
        assert "USD 500" not in text
        assert "free credits" not in text
        assert "on us" not in text


@pytest.mark.django_db(transaction=True)
def test_a_new_price_and_package_are_seen_once_the_kept_page_is_old(client, catalogue, staff):
    assert "0.02 0.04" in words(client.get("/pricing/"))
    add_price(model_key=DEMO_KEY, prompt_microcredits_per_token=30, completion_microcredits_per_token=50, by=staff)
    Package.objects.create(name="Tiny", price_minor=123, credits_microcredits=123_000_000)
    admin().flushdb()  # as if the kept page were old
    text = words(client.get("/pricing/"))
    assert "0.03 0.05" in text
    assert "$1.23 123 credits" in text


@pytest.mark.parametrize("path", ["/", "/pricing/"])
def test_strangers_ask_the_database_once_for_many_pages(client, catalogue, django_assert_num_queries, path):
    with django_assert_num_queries(3):
        first = client.get(path)
    with django_assert_num_queries(0):
        assert client.get(f"{path}?utm_source=x&next=//evil.example").content == first.content


def test_whoever_is_logged_in_finds_the_chat_at_the_same_address(client, alice):
    assert "The chat that shows its price." in words(client.get("/"))
    client.force_login(alice)
    page = client.get("/")
    assert 'id="composer"' in page.content.decode()
    assert "no-store" in page["Cache-Control"]
    client.logout()
    assert "The chat that shows its price." in words(client.get("/"))


def test_no_shared_cache_keeps_the_front_door_and_browsers_ask_again(client, alice):
    page = client.get("/")
    assert set(page["Cache-Control"].replace(" ", "").split(",")) == {"private", "no-cache"}
    assert "Cookie" in page["Vary"]
    assert not page.cookies
    etag = {"If-None-Match": page["ETag"]}
    again = client.get("/", headers=etag)
    assert (again.status_code, again.content) == (304, b"")
    assert "no-cache" in again["Cache-Control"]
    client.force_login(alice)
    assert client.get("/", headers=etag).status_code == 200


@pytest.mark.parametrize("path", PUBLIC)
def test_public_pages_are_the_same_for_everybody_and_may_be_kept(client, alice, path, django_assert_num_queries):
    page = client.get(path)
    assert set(page["Cache-Control"].replace(" ", "").split(",")) == {"public", "max-age=60"}
    client.force_login(alice)
    with django_assert_num_queries(0):  # not even for the session
        hers = client.get(path)
    assert hers.content == page.content
    for answer in (page, hers):
        assert "Cookie" not in answer.get("Vary", "")
        assert not answer.cookies
    assert client.get(path, headers={"If-None-Match": page["ETag"]}).status_code == 304


@pytest.mark.parametrize("path", PUBLIC)
def test_a_public_page_answers_a_malformed_cookie_with_none(client, catalogue, settings, path):
    for name in (settings.CSRF_COOKIE_NAME, settings.SESSION_COOKIE_NAME):
        client.cookies[name] = "garbage"
        page = client.get(path)
        assert "public" in page["Cache-Control"]
        assert not page.cookies, name


@pytest.mark.parametrize("path", ["/", *PUBLIC])
def test_head_is_answered_without_a_body_and_a_form_is_refused(client, catalogue, path):
    headed = client.head(path)
    assert (headed.status_code, headed.content) == (200, b"")
    refused = client.post(path)
    assert refused.status_code == 405
    assert "public" not in refused.get("Cache-Control", "")


@pytest.mark.parametrize("path", ["/", *PUBLIC])
def test_nothing_is_inline_and_nothing_comes_from_elsewhere(client, catalogue, path):
    page = client.get(path)
    body = page.content.decode()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*src=)", body)
    assert not re.search(r'(src|href)="(https?:)?//', body)
    assert "unsafe" not in page["Content-Security-Policy"]
    assert "nonce" not in page["Content-Security-Policy"]  # a kept page would repeat it
    assert "csrf" not in body


def test_the_five_lines_lead_to_this_site_and_name_a_model_that_can_be_asked(client, catalogue, settings):
    settings.PUBLIC_URL = "https://tally.example.com"
    text = words(client.get("/")).replace(" ", "")
    assert 'base_url="https://tally.example.com/v1"' in text
    assert f'model="{DEMO_KEY}"' in text


@pytest.mark.django_db(transaction=True)
def test_the_five_lines_get_an_answer(client, server, engine, alice, key_of, settings, capsys):
    settings.PUBLIC_URL = server.url
    page = client.get("/").content.decode()
    code = html.unescape(re.search("<template data-source>(.*?)</template>", page, re.DOTALL)[1])
    assert len(code.splitlines()) == 5
    exec(code, {"KEY": key_of(alice)})
    assert "The quick brown fox" in capsys.readouterr().out
