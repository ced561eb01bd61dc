"""The archive of one's data, and the end of the account: a week in which it can be kept, then it is gone."""

import io
import json
import zipfile
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import api_keys, data_archives
from accounts.models import AuditEvent, DataArchive, User
from accounts.tasks import make_archive, queue_archives
from billing import closing, ledger
from billing.tasks import close_accounts
from chat.models import Conversation
from tests.accounts.pages.settings.looks import LOOKS, NO_SCRIPT, code_of, name_of
from tests.e2e.looking import look_at
from tests.support.cast import CREDIT, PASSWORD, answered_talk, at_once, fund
from tests.support.mailbox import read_mails

PAGE, DELETE, KEEP = "/settings/data/", "/settings/data/delete/", "/settings/data/keep/"
BROWSER = pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")  # WhiteNoise's files
TOKEN = {"email": "alice@example.com", "password": PASSWORD}


def made(user):
    """The user's archive, as the worker makes it."""
    archive = data_archives.request_archive(user=user)
    make_archive(archive_id=str(archive.pk))
    archive.refresh_from_db()
    return archive


def url_of(archive):
    return reverse("settings:archive", args=[archive.pk])


def free(user):
    return closing.plan_closing(user=user).forfeits_microcredits


def sent(user, **more):
    return {"password": PASSWORD, "forfeits_microcredits": free(user)} | more


@pytest.mark.django_db(transaction=True)
def test_the_archive_is_whole_and_its_link_is_mailed(alice, catalogue, monkeypatch):
    monkeypatch.setattr(data_archives, "PART_BYTES", 500)  # so that it has several parts
    answered_talk(alice, catalogue)
    archive = made(alice)
    assert archive.parts.count() > 1
    file = b"".join(data_archives.read_part(archive, number) for number in range(archive.parts.count()))
    assert len(file) == archive.size_bytes
    with zipfile.ZipFile(io.BytesIO(file)) as whole:
        assert whole.testzip() is None
        data = json.loads(whole.read("tally-data.json"))
    assert data["account"][0]["email"] == alice.email
    assert data["conversations"][0]["title"] == "secret talk"
    [mail] = read_mails()
    assert mail.subject == "Your data is ready"
    assert url_of(archive) in mail.body


def test_a_double_click_asks_once_and_a_new_one_replaces_the_old(confirmed, alice):
    client = confirmed(alice)
    for _click in range(2):
        assert client.post(PAGE).url == PAGE
    assert DataArchive.objects.count() == 1
    assert "Being made" in client.get(PAGE).content.decode()
    first = DataArchive.objects.get()
    make_archive(archive_id=str(first.pk))
    make_archive(archive_id=str(first.pk))  # delivered twice
    assert len(read_mails()) == 1
    assert url_of(first) in client.get(PAGE).content.decode()
    client.post(PAGE)
    assert DataArchive.objects.get().pk != first.pk
    assert client.get(url_of(first)).status_code == 404


@pytest.mark.django_db(transaction=True)
def test_clicks_at_once_make_one(confirmed, alice):
    clients = [confirmed(alice) for _click in range(4)]
    answers = at_once(4, lambda number: clients[number].post(PAGE))
    assert [answer.status_code for answer in answers] == [302] * 4
    assert DataArchive.objects.count() == 1


def test_the_link_is_for_its_owner_with_the_password_and_for_some_days(client, confirmed, alice, charlie):
    archive = made(alice)
    assert client.get(url_of(archive)).url.startswith(reverse("account_login"))
    client.force_login(alice)
    assert client.get(url_of(archive)).url.startswith(reverse("account_reauthenticate"))
    assert confirmed(charlie).get(url_of(archive)).status_code == 404
    browser = confirmed(alice)
    answer = browser.get(url_of(archive))
    assert answer.status_code == 200
    assert answer["Content-Disposition"] == 'attachment; filename="tally-data.zip"'
    past = timezone.now() - timedelta(days=8)
    DataArchive.objects.update(ready_at=past, expires_at=past + timedelta(days=7))
    assert browser.get(url_of(archive)).status_code == 404
    queue_archives()
    assert DataArchive.objects.count() == 0


def test_an_archive_whose_worker_died_is_made_by_another(alice):
    archive = data_archives.request_archive(user=alice)
    DataArchive.objects.update(due_at=timezone.now() + timedelta(minutes=5))  # claimed
    make_archive(archive_id=str(archive.pk))
    assert DataArchive.objects.unfinished().count() == 1
    DataArchive.objects.update(due_at=timezone.now() - timedelta(minutes=1))
    assert data_archives.queue_due_archives() == 1
    make_archive(archive_id=str(archive.pk))
    assert DataArchive.objects.ready().count() == 1


def test_deleting_says_what_goes_and_wants_the_password(client, alice, catalogue):
    api_keys.create_key(user=alice, name="k", scopes=["chat"])
    answered_talk(alice, catalogue)
    client.force_login(alice)
    page = client.get(DELETE).content.decode()
    for words in ("99.", "1 conversations", "1 keys", "You have a week"):
        assert words in page
    for wrong in (
        {"password": "wrong"},
        {"password": ""},
        {"forfeits_microcredits": 1},
        {"forfeits_microcredits": "x"},
    ):
        refused = client.post(DELETE, sent(alice, **wrong))
        assert refused.status_code == 422
        assert refused.context["form"].errors
    assert User.objects.get(pk=alice.pk).closes_at is None


def test_keys_and_tokens_stop_at_once_and_the_account_can_be_kept(client, alice, api):
    text = api_keys.create_key(user=alice, name="k", scopes=["chat"])[1]
    token = api.post("/api/v1/auth/token", TOKEN).json()["access"]
    client.force_login(alice)
    for _click in range(2):
        assert client.post(DELETE, sent(alice)).url == PAGE
    assert 6 < (User.objects.get(pk=alice.pk).closes_at - timezone.now()) / timedelta(days=1) < 7
    for bearer in (text, token):
        assert api.bearer(bearer).get("/api/v1/me").status_code == 401
    refused = Client().post("/api/v1/auth/token", TOKEN, content_type="application/json")
    assert (refused.status_code, refused.json()["code"]) == (403, "account_closes")
    assert "Keep my account" in client.get("/credits/").content.decode()
    for _click in range(2):
        assert client.post(KEEP).url == PAGE
    assert "Keep my account" not in client.get("/credits/").content.decode()
    assert api.bearer(text).get("/api/v1/me").status_code == 200
    assert api.bearer(token).get("/api/v1/me").status_code == 401
    subjects = [mail.subject for mail in read_mails()]
    assert subjects.count("Your account will be deleted") == subjects.count("Your account stays") == 1
    assert AuditEvent.objects.filter(action__in=["closing asked for", "account kept"]).count() == 2


def test_who_comes_back_within_the_week_logs_in_and_keeps_it(client, alice):
    closing.request_closing(user=alice, forfeits_microcredits=free(alice))
    client.post(reverse("account_login"), {"login": alice.email, "password": PASSWORD})
    assert "Keep my account" in client.get(PAGE).content.decode()
    client.post(KEEP)
    assert User.objects.get(pk=alice.pk).closes_at is None


def test_after_the_week_the_person_is_gone_and_the_books_stay(client, alice, catalogue, faults):
    answered_talk(alice, catalogue)
    data_archives.request_archive(user=alice)
    closing.request_closing(user=alice, forfeits_microcredits=free(alice))
    close_accounts()
    assert User.objects.get(pk=alice.pk).email == "alice@example.com"  # the week is not over
    User.objects.update(closes_at=timezone.now() - timedelta(minutes=1))
    close_accounts()
    close_accounts()
    gone = User.objects.get(pk=alice.pk)
    assert (gone.is_active, gone.email, gone.closes_at) == (False, f"deleted-{alice.pk}@deleted.invalid", None)
    assert Conversation.objects.count() == DataArchive.objects.count() == 0
    assert gone.wallet.balance_microcredits == 0
    assert gone.wallet.entries.count() > 1
    assert faults() == []


def test_a_running_answer_stands_in_the_way_and_the_page_says_so(client, alice, catalogue):
    hold = ledger.hold(
        user=alice, model_key=catalogue.key, prompt_tokens=20, max_completion_tokens=10, reference="generation:x"
    )
    client.force_login(alice)
    assert "An answer is still running" in client.get(DELETE).content.decode()
    assert client.post(DELETE, sent(alice)).status_code == 422
    ledger.release(hold_id=hold.pk)
    assert client.post(DELETE, sent(alice)).status_code == 302


def test_an_obstacle_at_the_end_of_the_week_only_puts_it_off(alice, catalogue):
    closing.request_closing(user=alice, forfeits_microcredits=free(alice))
    hold = ledger.hold(
        user=alice, model_key=catalogue.key, prompt_tokens=20, max_completion_tokens=10, reference="generation:x"
    )
    User.objects.update(closes_at=timezone.now() - timedelta(minutes=1))
    assert closing.close_due_accounts() == 0
    ledger.release(hold_id=hold.pk)
    assert closing.close_due_accounts() == 1


def test_credits_that_nobody_agreed_to_give_up_keep_the_account(alice):
    closing.request_closing(user=alice, forfeits_microcredits=free(alice))
    fund(alice, CREDIT)  # as a refund does
    User.objects.update(closes_at=timezone.now() - timedelta(minutes=1))
    assert closing.close_due_accounts() == 0
    kept = User.objects.get(pk=alice.pk)
    assert (kept.closes_at, kept.is_active) == (None, True)
    assert read_mails()[-1].subject == "Your account stays"


def test_with_two_step_a_code_is_wanted_too(confirmed, alice, api):
    client = confirmed(alice)
    secret = client.get(reverse("mfa_activate_totp")).context["form"].secret
    client.post(reverse("mfa_activate_totp"), {"code": code_of(secret, -1)})
    for code in ("", "000000"):
        refused = client.post(DELETE, sent(alice, code=code))
        assert refused.status_code == 422
        assert list(refused.context["form"].errors) == ["code"]
    assert client.post(DELETE, sent(alice, code=code_of(secret))).url == PAGE


def test_the_pages_ask_little(client, alice, django_assert_num_queries):
    client.force_login(alice)
    with django_assert_num_queries(9):  # two of the side bar; session, user, wallet, payments, archive, talks, keys
        client.get(PAGE)


@BROWSER
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("look", LOOKS, ids=name_of)
def test_download_delete_and_keep_in_a_browser(open_page, alice, look):
    page = open_page(alice, PAGE, **look)
    look_at(page, f"data-{name_of(look)}")
    page.click("button:has-text('Prepare')")
    page.fill("[name=password]", PASSWORD)
    page.click("button:has-text('Confirm')")
    page.wait_for_selector("text=Being made")
    make_archive(archive_id=str(DataArchive.objects.get().pk))
    assert "/settings/data/archives/" in read_mails()[-1].body
    page.goto(PAGE)
    look_at(page, f"data-ready-{name_of(look)}")
    with page.expect_download() as waiting:
        page.click("a:has-text('Download')")
    with zipfile.ZipFile(waiting.value.path()) as whole:
        assert whole.namelist() == ["tally-data.json"]
    page.click("a:has-text('Delete')")
    look_at(page, f"delete-{name_of(look)}")
    page.fill("[name=password]", "wrong")
    page.click("button:has-text('Delete in a week')")
    page.wait_for_selector(".errorlist:has-text('wrong')")
    look_at(page, f"delete-wrong-{name_of(look)}")
    page.fill("[name=password]", PASSWORD)
    page.click("button:has-text('Delete in a week')")
    page.wait_for_selector(".closes")
    look_at(page, f"closes-{name_of(look)}")
    page.goto("/")
    page.click("text=Keep my account")
    page.wait_for_selector(".toast:has-text('stays')")
    assert page.locator(".closes").count() == 0


@BROWSER
@pytest.mark.django_db(transaction=True)
def test_delete_and_keep_work_without_scripts(open_page, alice):
    page = open_page(alice, DELETE, **NO_SCRIPT)
    page.fill("[name=password]", PASSWORD)
    page.click("button:has-text('Delete in a week')")
    page.click("text=Keep my account")
    assert User.objects.get(pk=alice.pk).closes_at is None


def test_who_keeps_the_account_while_it_is_being_closed_keeps_it(alice, monkeypatch):
    """The provider is told to forget the card before anything else: that takes its time."""
    closing.request_closing(user=alice, forfeits_microcredits=free(alice))
    User.objects.update(closes_at=timezone.now() - timedelta(minutes=1))
    monkeypatch.setattr(closing, "remove_card", lambda *, user: closing.keep_account(user=user))
    assert closing.close_due_accounts() == 0
    kept = User.objects.get(pk=alice.pk)
    assert (kept.closes_at, kept.is_active, kept.email) == (None, True, "alice@example.com")


def test_archives_have_a_limit_of_an_hour(confirmed, alice):
    client = confirmed(alice)
    for _time in range(5):
        client.post(PAGE)
        make_archive(archive_id=str(DataArchive.objects.get().pk))
    last = DataArchive.objects.get()
    refused = client.post(PAGE, follow=True).content.decode()
    assert "Too many tries" in refused
    assert DataArchive.objects.get() == last
