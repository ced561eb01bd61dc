"""The switch of the low-balance mail is the one that the spending page has."""

import pytest

from billing.models import SpendingPreferences
from tests.accounts.pages.settings.looks import LOOKS, name_of
from tests.e2e.looking import look_at

PAGE = "/settings/notifications/"


def chosen(user):
    found = SpendingPreferences.objects.of(user.wallet)
    return found.is_alert_on, found.alert_below_microcredits


def test_the_switch_changes_what_is_sent(client, alice):
    client.force_login(alice)
    for _click in range(2):
        assert client.post(PAGE, {"is_on": "on", "below": "12.5"}).url == PAGE
    assert chosen(alice) == (True, 12_500_000)
    assert 'value="12.5"' in client.get(PAGE).content.decode()
    client.post(PAGE, {"below": ""})
    assert chosen(alice) == (False, 12_500_000)


@pytest.mark.parametrize("below", ["", "0", "-1", "lots", "9" * 30])
def test_what_does_not_fit_is_said_beside_its_field(client, alice, below):
    client.force_login(alice)
    before = chosen(alice)
    answer = client.post(PAGE, {"is_on": "on", "below": below})
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == ["below"]
    assert chosen(alice) == before


def test_the_page_asks_little(client, alice, django_assert_num_queries):
    client.force_login(alice)
    with django_assert_num_queries(5):  # the side bar's; session, user, wallet, preferences
        client.get(PAGE)


@pytest.mark.django_db(transaction=True)
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")  # WhiteNoise's files, as in config.asgi
@pytest.mark.parametrize("look", LOOKS, ids=name_of)
def test_the_switch_in_a_browser(open_page, alice, look):
    page = open_page(alice, PAGE, **look)
    look_at(page, f"notifications-{name_of(look)}")
    page.uncheck("[name=is_on]")
    page.click("button:has-text('Save')")
    page.wait_for_selector(".toast:has-text('Saved')")
    assert not page.is_checked("[name=is_on]")
    assert not chosen(alice)[0]
