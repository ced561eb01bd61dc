"""Each flow of the staff in a real browser: double clicks, a second tab, phone and desktop, light and dark."""

from datetime import timedelta

import pytest
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.urls import reverse
from django.utils import timezone

from accounts.api_keys import create_key
from accounts.models import AuditEvent, Scope
from backoffice.models import Note
from billing.models import Adjustment, Refund, TopUp, Wallet
from inference.catalogue import DEMO_KEY
from inference.models import CatalogueModel, Generation
from tests.billing.orders import complete, disputed, order
from tests.billing.refunds.adjusting import adjust
from tests.billing.refunds.refunding import ask as ask_refund
from tests.e2e.looking import look_at
from tests.inference.asking import ask
from tests.support.cast import CREDIT, answered_talk, begin

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume"),  # WhiteNoise's files, as in config.asgi
    pytest.mark.usefixtures("without_answers"),
]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
SMALL = {"viewport": {"width": 320, "height": 640}}
DESKTOP = {"viewport": {"width": 1440, "height": 900}}
SHOW, GO = "text=Show what will happen", "input[type=submit].default"


@pytest.fixture
def busy(alice, bob, staff, sue, fred, gina, settings):
    """A customer with some of everything, and something that waits."""
    settings.PAYMENT_PROVIDERS = {"sandbox": "billing.topups.sandbox.SandboxProvider"}
    catalogue = CatalogueModel.objects.get(key=DEMO_KEY)
    for _talk in range(3):
        answered_talk(alice, catalogue)
    topup = order(alice, 5000, bonus=500 * CREDIT, provider="sandbox")
    complete(topup, provider="sandbox")
    other = order(bob, 2500, provider="sandbox")
    complete(other, provider="sandbox")
    disputed_one = order(bob, 500)
    complete(disputed_one)
    disputed(disputed_one, 500)
    create_key(user=alice, name="laptop", scopes=[Scope.CHAT])
    TOTP.activate(alice, generate_totp_secret())
    Note.objects.create(customer=alice, author=sue, text="Asked twice about invoices.", form_id=topup.pk)
    ask_refund(sue, 50, hold=Generation.objects.first().hold)
    adjust(fred, alice, 3)
    running = ask(alice, catalogue)
    begin(running)
    Generation.objects.filter(pk=running.pk).update(heartbeat_at=timezone.now() - timedelta(minutes=26))
    settings.REFUND_APPROVAL_MICROCREDITS = 0
    ask_refund(fred, 1000, topup=TopUp.objects.get(pk=other.pk))
    adjust(gina, bob, 750)
    adjust(fred, alice, 1200)
    settings.REFUND_APPROVAL_MICROCREDITS = 1_000_000_000
    return topup


def customer(user):
    return reverse("admin:customer", args=[user.pk])


def balance(user):
    return Wallet.objects.get(user=user).balance_microcredits


def click_twice(page, selector=GO):
    """A double click, then the page that it leads to."""
    page.dblclick(selector)
    page.wait_for_selector(".messagelist")


def test_an_answer_is_found_refunded_once_and_shown_as_refunded(open_page, fred, alice, busy, faults):
    before = balance(alice)
    page = open_page(fred, "/admin/", **DESKTOP)
    page.fill("#find", str(Generation.objects.filter(state="completed").last().pk))
    page.press("#find", "Enter")
    page.wait_for_selector("h1:has-text('alice@example.com')")
    page.click("tr:has-text('completed') a:has-text('Refund') >> nth=0")
    page.check("[value='Answer failed or unusable']")
    page.fill("[name=note]", "Cut off in the middle")
    page.click(SHOW)
    page.wait_for_selector("text=What this will do")
    again = page.context.new_page()  # the same step in a second tab
    click_twice(page)
    page.wait_for_selector("text=Refunded in full")
    again.close()
    assert Refund.objects.filter(state="done").count() == 1
    assert balance(alice) == before + Refund.objects.get(state="done").amount
    assert AuditEvent.objects.filter(action="refund done").count() == 1
    assert faults() == []


def test_the_same_step_sent_from_two_tabs_is_one_adjustment(open_page, fred, alice, busy, faults):
    page = open_page(fred, reverse("admin:billing_wallet_adjust", args=[alice.wallet.pk]), **DESKTOP)
    before = balance(alice)
    page.fill("[name=credits]", "-2.5")
    page.check("[value='Charged in error']")
    page.click(SHOW)
    page.wait_for_selector("text=What this will do")
    form = page.eval_on_selector("form.w-step", "f => new URLSearchParams(new FormData(f)).toString()")
    click_twice(page)
    other = page.context.new_page()
    answer = other.request.post(
        page.context.pages[0].url.split("/admin/")[0] + reverse("admin:billing_wallet_adjust", args=[alice.wallet.pk]),
        data=form,
        headers={"Content-Type": "application/x-www-form-urlencoded", "Referer": page.url},
    )
    assert answer.ok
    assert balance(alice) == before - 2_500_000
    assert Adjustment.objects.filter(amount_microcredits=-2_500_000).count() == 1
    assert faults() == []


def test_a_payment_above_the_limit_waits_and_is_approved_by_another_on_a_phone(
    open_page, fred, gina, alice, busy, settings, faults
):
    settings.REFUND_APPROVAL_MICROCREDITS = 100 * CREDIT
    page = open_page(fred, customer(alice), **PHONE)
    page.click("a[href*='/topup/'][href$='/refund/']")
    page.fill("[name=amount]", "35.00")
    page.check("[value='Requested by the customer']")
    page.click(SHOW)
    page.wait_for_selector("text=A second person must approve it first")
    click_twice(page, "input[value^='Ask for approval']")
    page.wait_for_selector("text=Refund waits for approval")
    waiting = Refund.objects.get(amount=3500)
    assert waiting.state == "waiting"
    page.goto(reverse("admin:approvals"))
    assert page.locator("text=Yours: somebody else decides").count() >= 1
    other = open_page(gina, reverse("admin:approval", args=["refund", waiting.pk]), **PHONE)
    click_twice(other, "button:has-text('Approve: $35 back')")
    waiting.refresh_from_db()
    assert (waiting.state, waiting.decided_by) == ("done", gina)
    assert balance(alice) == Wallet.objects.get(user=alice).balance_microcredits
    assert faults() == []


def test_access_is_ended_and_a_note_written_and_a_stuck_answer_released(open_page, sue, alice, busy, faults):
    page = open_page(sue, customer(alice), **DESKTOP)
    for link, reason in (("End all log-ins", "Account taken over"), ("Reset second factor", "Device lost")):
        page.click(f"#actions a:has-text('{link}')")
        page.check(f"[value='{reason}']")
        page.click(SHOW)
        page.wait_for_selector("text=What this will do")
        click_twice(page)
    page.fill("#content-related textarea", "Talked to her")
    page.dblclick("text=Add note")
    page.wait_for_selector(".w-note:has-text('Talked to her')")
    page.click("a:has-text('Release')")
    page.check("[value='Its worker stopped']")
    page.click(SHOW)
    page.wait_for_selector("text=What this will do")
    page.click(GO)
    page.wait_for_selector(".messagelist")
    once = ("log-ins ended", "second factor reset", "note written", "answer released")
    assert [AuditEvent.objects.filter(action=action, subject=alice).count() for action in once] == [1, 1, 1, 1]
    assert Wallet.objects.get(user=alice).held_microcredits == 0
    assert faults() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, SMALL, DESKTOP])
def test_every_page_is_whole_and_accessible(open_page, staff, gina, alice, busy, size, scheme):
    width = size["viewport"]["width"]
    page = open_page(staff, "/admin/", color_scheme=scheme, **size)
    found = []

    def look(name):
        try:
            look_at(page, f"{name}-{scheme}-{width}")
        except AssertionError as wrong:  # so that one run tells all that is wrong
            found.append(str(wrong))

    look("start")
    for name, path in {
        "customer": customer(alice),
        "inbox": reverse("admin:approval", args=["refund", Refund.objects.get(topup__isnull=False).pk]),
        "find": f"{reverse('admin:find')}?q=example",
        "refund": reverse("admin:billing_topup_refund", args=[busy.pk]),
    }.items():
        page.goto(path)
        look(name)
    page.fill("[name=amount]", "35.00")
    page.check("[value='Requested by the customer']")
    page.click(SHOW)
    page.wait_for_selector("text=What this will do")
    look("refund-2")
    assert found == []
