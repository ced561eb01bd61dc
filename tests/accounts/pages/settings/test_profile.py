"""The profile: name, look, language, and a time zone in which the pages show their times."""

from datetime import UTC, datetime

import pytest
from django.utils import timezone

from accounts import api_keys
from accounts.models import ApiKey, User
from tests.accounts.pages.settings.looks import LOOKS, NO_SCRIPT, name_of
from tests.e2e.looking import look_at

PAGE = "/settings/"
FIELDS = {"first_name": "Mara", "last_name": "Keller", "look": "dark", "language": "en", "time_zone": "Europe/Berlin"}


def test_what_is_saved_counts_at_once(client, alice):
    client.force_login(alice)
    assert "data-theme" not in client.get(PAGE).content.decode()
    assert client.post(PAGE, FIELDS).url == PAGE
    page = client.get(PAGE).content.decode()
    assert 'data-theme="dark"' in page
    assert 'value="Mara"' in page
    assert '<option value="Europe/Berlin" selected>' in page
    assert {name: getattr(User.objects.get(pk=alice.pk), name) for name in FIELDS} == FIELDS
    assert 'data-theme="dark"' in client.get("/credits/").content.decode()


@pytest.mark.parametrize(
    "change",
    [
        {"first_name": "x" * 151},
        {"last_name": "a\x00"},
        {"look": "pink"},
        {"language": "xx"},
        {"time_zone": "Europe/Nowhere"},
        {"time_zone": "../../etc/passwd"},
        {"time_zone": ""},
    ],
)
def test_what_does_not_fit_is_said_beside_its_field(client, alice, change):
    client.force_login(alice)
    answer = client.post(PAGE, FIELDS | change)
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == list(change)
    assert User.objects.get(pk=alice.pk).first_name == ""


@pytest.mark.parametrize("name", ["\U0001f98a\U0001f98a\U0001f98a", "<b>", "\u05de\u05e8\u05d4", ""])
def test_any_name_is_a_name(client, alice, name):
    client.force_login(alice)
    client.post(PAGE, FIELDS | {"first_name": name})
    assert client.get(PAGE).status_code == 200
    assert User.objects.get(pk=alice.pk).first_name == name


def test_times_are_in_the_zone_of_who_reads_them_and_in_nobody_elses(client, client_elsewhere, alice, charlie, api):
    for user in (alice, charlie):
        api_keys.create_key(user=user, name="k", scopes=["chat"])
    ApiKey.objects.update(last_used_at=datetime(2026, 7, 1, 22, 30, tzinfo=UTC))
    client.force_login(alice)
    client_elsewhere.force_login(charlie)
    client.post(PAGE, FIELDS)
    assert "2 Jul, 00:30" in client.get("/settings/keys/").content.decode()
    assert "1 Jul, 22:30" in client_elsewhere.get("/settings/keys/").content.decode()
    assert timezone.get_current_timezone_name() == "UTC"


def test_what_says_utc_is_utc(client, alice):
    client.force_login(alice)
    before = client.get("/credits/").content.decode()
    client.post(PAGE, FIELDS | {"look": "system", "time_zone": "Pacific/Auckland"})
    moment = alice.wallet.entries.latest("pk").created_at
    for page in (before, client.get("/credits/").content.decode()):
        assert f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}" in page


def test_a_zone_that_is_no_longer_known_is_utc(client, alice):
    User.objects.filter(pk=alice.pk).update(time_zone="Europe/Atlantis")
    client.force_login(alice)
    assert client.get(PAGE).status_code == 200


def test_the_page_asks_little(client, alice, django_assert_num_queries):
    client.force_login(alice)
    with django_assert_num_queries(4):  # the side bar's two; session, user
        client.get(PAGE)


@pytest.mark.django_db(transaction=True)
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
@pytest.mark.parametrize("look", LOOKS, ids=name_of)
def test_the_look_changes_in_a_browser(open_page, alice, look):
    page = open_page(alice, PAGE, **look)
    look_at(page, f"profile-{name_of(look)}")
    other = "dark" if look["color_scheme"] == "light" else "light"
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.check(f"[value={other}]", force=True)
    page.select_option("[name=time_zone]", "Europe/Berlin")
    page.click("button:has-text('Save')")
    page.wait_for_selector(".toast:has-text('Saved')")
    look_at(page, f"profile-{other}-chosen-{name_of(look)}")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


@pytest.mark.django_db(transaction=True)
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
def test_it_is_saved_without_scripts(open_page, alice):
    page = open_page(alice, PAGE, **NO_SCRIPT)
    page.fill("[name=first_name]", "Mara")
    page.click("button:has-text('Save')")
    assert page.input_value("[name=first_name]") == "Mara"
