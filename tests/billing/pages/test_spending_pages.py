"""The spending page: forms that work without a script, errors beside their fields, consent before anything is on."""

import re
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from billing import ledger
from billing.ledger import caps
from billing.models import AutomaticTopUp, Package, PromotionCode, SavedCard, SpendingPreferences, TopUp, Wallet
from billing.topups.packages import seed_packages
from tests.billing.holds import open_hold
from tests.billing.topups.automatic import save_sandbox_card, turn_on
from tests.support.cast import CREDIT, PASSWORD, fund

PAGE = "/credits/spending/"
FIGURES = {"below": "10", "package": "", "amount": "20", "ceiling": "60.00"}


@pytest.fixture
def customer(client, bob):
    client.force_login(bob)
    return bob


def post(client, name, **fields):
    return client.post(reverse(f"billing:{name}"), fields)


def text(response):
    return re.sub(r"\s+", " ", response.content.decode())


def wallet(user):
    return Wallet.objects.get(user=user)


def test_the_page_says_what_is_set_in_few_questions(client, customer, django_assert_num_queries):
    with django_assert_num_queries(7):  # session, user, wallet, preferences, automatic top-up, card
        page = text(client.get(PAGE))
    assert 'value="5"' in page
    assert "Save a card first" in page
    save_sandbox_card(customer)
    turn_on(customer)
    caps.set_cap(user=customer, cap_microcredits=30 * CREDIT)
    with django_assert_num_queries(11):  # and the two of the cap, what was ordered, the packages
        page = text(client.get(PAGE))
    assert "You spend at most 30.00 credits this month" in page
    assert "Visa •••• 4242" in page
    assert "$0 of at most $60" in page


def test_the_alert_is_set_and_turned_off(client, customer):
    fund(customer, 20 * CREDIT)
    assert post(client, "set_alert", is_on="on", below="12.5").url == PAGE
    assert wallet(customer).armed_alert_microcredits == 12_500_000
    assert "You will be told" in text(client.get(PAGE))
    post(client, "set_alert", below="12.5")
    assert wallet(customer).armed_alert_microcredits is None
    assert not SpendingPreferences.objects.get().is_alert_on


def test_where_alerts_are_off_by_default_the_page_says_off_and_can_be_saved_as_it_is(client, customer, settings):
    settings.LOW_BALANCE_MICROCREDITS = 0
    form = client.get(PAGE).context["alert_form"]
    assert (form["is_on"].value(), form["below"].value()) == (False, None)
    assert post(client, "set_alert").status_code == 302
    form = client.get(PAGE).context["alert_form"]
    assert (form["is_on"].value(), form["below"].value()) == (False, None)
    assert post(client, "set_alert", is_on="on", below="3").status_code == 302
    assert client.get(PAGE).context["alert_form"]["is_on"].value() is True


def test_the_cap_is_set_and_lifted(client, customer):
    post(client, "set_cap", cap="0.000001")
    assert wallet(customer).monthly_cap_microcredits == 1
    post(client, "set_cap", cap="")
    assert wallet(customer).monthly_cap_microcredits is None


BAD = ["0", "-1", "ten", "NaN", "Infinity", "1e99", "0.0000001", "\x00", "9" * 400, "1,5"]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(("name", "field"), [("set_alert", "below"), ("set_cap", "cap")])
def test_a_bad_number_of_credits_is_explained_beside_its_field(client, customer, name, field, bad):
    before = wallet(customer)
    response = post(client, name, is_on="on", **{field: bad})
    assert response.status_code == 422
    assert f'id="{name.removeprefix("set_")}_{field}_error"' in text(response)
    assert (wallet(customer).monthly_cap_microcredits, wallet(customer).armed_alert_microcredits) == (
        before.monthly_cap_microcredits,
        before.armed_alert_microcredits,
    )


def test_an_alert_that_is_on_needs_a_threshold(client, customer):
    assert "Say below how many credits" in text(post(client, "set_alert", is_on="on", below=""))


# The card and the automatic top-up


def enter_card(client, choice="approve"):
    page = post(client, "save_card").url
    assert page == reverse("billing:sandbox_card", args=[SavedCard.objects.get().pk])
    assert client.get(page).status_code == 200
    return client.post(page, {"card": choice})


def test_a_card_is_saved_shown_and_removed(client, customer):
    assert enter_card(client).url == PAGE
    assert "Visa •••• 4242" in text(client.get(PAGE))
    post(client, "remove_card")
    assert SavedCard.objects.count() == 0
    page = text(client.get(PAGE))
    assert "The card is removed" in page
    assert "4242" not in page


def test_a_card_that_was_not_entered_yet_can_be_asked_for(client, customer):
    post(client, "save_card")
    assert "look again" in text(client.get(PAGE))
    post(client, "refresh_card")
    assert "No card was entered yet" in text(client.get(PAGE))


def test_an_unknown_card_and_a_second_one_are_refused(client, customer):
    page = post(client, "save_card").url
    assert client.post(page, {"card": "gold"}).status_code == 409
    enter_card(client)
    assert "Remove it first" in text(post(client, "save_card"))


def test_the_sandbox_page_is_the_owners_and_only_where_there_is_a_sandbox(client, customer, charlie, settings):
    page = post(client, "save_card").url
    client.force_login(charlie)
    assert client.get(page).status_code == 404
    assert client.post(page, {"card": "approve"}).status_code == 404
    assert not SavedCard.objects.get().is_usable
    client.force_login(customer)
    settings.PAYMENT_PROVIDERS = {}
    assert client.get(page).status_code == 404


def consent_of(response):
    return response.context["consent"]


def test_it_is_on_only_after_the_words_were_agreed_to(client, customer):
    enter_card(client)
    asked = post(client, "set_automatic", **FIGURES)
    assert "Do you agree to this?" in text(asked)
    assert AutomaticTopUp.objects.count() == 0
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', text(asked)))
    assert {name: hidden[name] for name in FIGURES if FIGURES[name]} == {
        name: value for name, value in FIGURES.items() if value
    }
    assert post(client, "set_automatic", **FIGURES, consent=consent_of(asked)).url == PAGE
    automatic = AutomaticTopUp.objects.get()
    assert (automatic.is_on, automatic.consent_text) == (True, consent_of(asked))
    assert (automatic.below_microcredits, automatic.amount_minor, automatic.ceiling_minor) == (10 * CREDIT, 2000, 6000)
    page = text(client.get(PAGE))
    assert automatic.consent_text in page
    post(client, "stop_automatic")
    assert not AutomaticTopUp.objects.get().is_on


def test_other_words_than_those_shown_are_not_a_consent(client, customer):
    enter_card(client)
    seed_packages()
    package = Package.objects.get(price_minor=2000)
    figures = FIGURES | {"package": package.pk, "amount": ""}
    consent = consent_of(post(client, "set_automatic", **figures))
    Package.objects.filter(pk=package.pk).update(price_minor=2500)  # while the customer was reading
    asked = post(client, "set_automatic", **figures, consent=consent)
    assert "$25" in consent_of(asked)
    assert AutomaticTopUp.objects.count() == 0


def test_without_a_card_the_form_is_refused(client, customer):
    assert post(client, "set_automatic", **FIGURES).status_code == 422
    assert AutomaticTopUp.objects.count() == 0


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"below": ""}, "below", "This field is required."),
        ({"below": "-5"}, "below", "Write more than zero."),
        ({"amount": ""}, "amount", "Choose a package or write an amount."),
        ({"amount": "0.99"}, "amount", "Choose an amount between $1 and $1,000."),
        ({"amount": "1000.01", "ceiling": "5000"}, "amount", "Choose an amount between $1 and $1,000."),
        ({"amount": "12.505"}, "amount", "Amounts go in steps of $0.01."),
        ({"amount": "free"}, "amount", "Write an amount, such as 20 or 12.50."),
        ({"package": "999999"}, "package", "Select a valid choice."),
        ({"ceiling": "19.99"}, "ceiling", "This must be at least the price of one top-up."),
        ({"ceiling": ""}, "ceiling", "This field is required."),
        ({"ceiling": "9" * 30}, "ceiling", "Write an amount"),
        ({"ceiling": "99999999"}, "ceiling", "more than can be charged"),
    ],
)
def test_each_figure_that_does_not_fit_is_explained_beside_its_field(client, customer, change, field, message):
    save_sandbox_card(customer)
    response = post(client, "set_automatic", **(FIGURES | change))
    assert response.status_code == 422
    assert message in " ".join(response.context["automatic_form"].errors[field])
    assert f'id="automatic_{field}_error"' in text(response)
    assert AutomaticTopUp.objects.count() == 0


def test_an_inactive_package_cannot_be_chosen(client, customer):
    save_sandbox_card(customer)
    seed_packages()
    Package.objects.update(is_active=False)
    chosen = FIGURES | {"package": Package.objects.first().pk}
    assert post(client, "set_automatic", **chosen).status_code == 422


def test_a_double_click_on_everything_does_no_harm(client, customer):
    enter_card(client)
    consent = consent_of(post(client, "set_automatic", **FIGURES))
    for name, fields in [
        ("set_automatic", FIGURES | {"consent": consent}),
        ("stop_automatic", {}),
        ("remove_card", {}),
        ("refresh_card", {}),
        ("set_cap", {"cap": "5"}),
        ("set_alert", {"is_on": "on", "below": "5"}),
    ]:
        for _click in range(2):
            assert post(client, name, **fields).url == PAGE


POSTS = ["set_alert", "set_cap", "set_automatic", "stop_automatic", "save_card", "refresh_card", "remove_card"]


@pytest.mark.parametrize("name", POSTS)
def test_what_changes_something_is_posted_by_somebody_who_is_logged_in(client, alice, name):
    response = client.post(reverse(f"billing:{name}"))
    assert response.status_code == 302
    assert "login" in response.url
    client.force_login(alice)
    assert client.get(reverse(f"billing:{name}")).status_code == 405


@pytest.mark.parametrize("name", POSTS)
def test_nothing_is_changed_from_another_site(bob, name):
    strict = Client(enforce_csrf_checks=True)
    assert strict.login(username=bob.email, password=PASSWORD)
    assert strict.post(reverse(f"billing:{name}")).status_code == 403


def test_charlie_changes_and_sees_only_his_own(client, bob, charlie):
    save_sandbox_card(bob)
    turn_on(bob)
    caps.set_cap(user=bob, cap_microcredits=7_654_321)
    client.force_login(charlie)
    page = text(client.get(PAGE))
    assert "4242" not in page
    assert "7.654321" not in page
    for name in ("stop_automatic", "remove_card"):
        post(client, name)
    post(client, "set_cap", cap="1")
    assert AutomaticTopUp.objects.get().is_on
    assert SavedCard.objects.count() == 1
    assert wallet(bob).monthly_cap_microcredits == 7_654_321


def test_the_page_needs_no_inline_style_or_script(client, customer):
    save_sandbox_card(customer)
    turn_on(customer)
    page = client.get(PAGE).content.decode()
    assert " style=" not in page
    assert not re.search(r"<script(?![^>]*src=)", page)
    assert not re.search(r"\son\w+=", page)


def test_a_redeemed_code_says_so_on_the_credits_page(client, customer):
    PromotionCode.objects.create(code="HELLO", credits_microcredits=5 * CREDIT)
    client.post(reverse("billing:redeem"), {"code": "hello"})
    assert "5.00 credits were added to your balance" in text(client.get(reverse("billing:overview")))


# The chat


def message(model="gemma-3-270m", **more):
    return {"text": "My draft is long enough", "model": model, "idempotency_key": uuid4()} | more


def test_at_the_cap_the_chat_says_so_keeps_the_draft_and_shows_the_way(client, alice):
    ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=100)
    caps.set_cap(user=alice, cap_microcredits=4_300)
    client.force_login(alice)
    response = client.post(reverse("chat:send_new"), message())
    page = text(response)
    assert response.status_code == 402
    assert "Buy credits" not in page
    assert "Your monthly cap of 0.0043 credits leaves 0.0001" in page
    assert f'{PAGE}#cap">Raise the cap' in page
    assert "My draft is long enough</textarea>" in page
    assert TopUp.objects.count() == 0


def test_the_estimate_says_what_limits_the_answer(client, alice):
    client.force_login(alice)
    estimate = reverse("chat:estimate_new")
    assert "limited" not in text(client.post(estimate, message()))
    caps.set_cap(user=alice, cap_microcredits=10_000)
    page = text(client.post(estimate, message()))
    assert "limited by your cap" in page
    assert f'href="{PAGE}#cap"' in page
    caps.set_cap(user=alice, cap_microcredits=50 * CREDIT)
    assert "limited" not in text(client.post(estimate, message()))
