"""Every mail goes through the outbox: nobody waits for the mail server, and whatever dies, it is sent or given up."""

import logging
import socket
import threading
import time
from datetime import timedelta
from itertools import pairwise

import pytest
from celery import current_app
from celery.contrib.testing.worker import start_worker
from django.core import mail
from django.core.mail import EmailMessage, EmailMultiAlternatives, send_mail
from django.core.mail.backends import locmem
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.urls import reverse
from kombu.exceptions import OperationalError

from accounts.mail.outbox import PAUSES, deliver_mail, queue_due_mails
from accounts.models import OutgoingMail
from accounts.tasks import give_up_old_mails, purge_accounts
from billing.closing import close_account, plan_closing
from billing.notices.notices import notify
from tests.core.postgresql.production import read_production
from tests.support.cast import at_once
from tests.support.databases.queue import clear_queue, run_tasks, take_tasks
from tests.support.mailbox import read_mails

NEW = {"email": "new@example.com", "password1": "a-Long-passphrase-1", "password2": "a-Long-passphrase-1"}
REAL = pytest.mark.django_db(transaction=True)  # with commits
LIMIT_SECONDS = 2

# Mail servers and backends that go wrong


@pytest.fixture(params=["accepts and never answers", "is away"])
def bad_server(request, settings):
    """Mail goes to such a mail server, by SMTP."""
    with socket.create_server(("127.0.0.1", 0)) as server:  # the kernel accepts, and nobody reads
        settings.EMAIL_HOST, settings.EMAIL_PORT = server.getsockname()
        settings.EMAIL_TIMEOUT = LIMIT_SECONDS
        settings.DELIVERY_EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        if request.param == "is away":
            server.close()
        yield


class Failing(locmem.EmailBackend):
    """Does `Failing.first`, and sends if that raises nothing."""

    first = staticmethod(lambda: None)

    def send_messages(self, messages):
        type(self).first()
        return super().send_messages(messages)


@pytest.fixture
def before_sending(settings, monkeypatch):
    """Call it with what the mail worker is to meet."""
    settings.DELIVERY_EMAIL_BACKEND = f"{__name__}.Failing"
    return lambda what: monkeypatch.setattr(Failing, "first", staticmethod(what))


class Killed(BaseException):
    """The worker dies."""


def killed():
    raise Killed


def refused():
    raise OSError("refused")


def write(subject="Hello", to="alice@example.com"):
    send_mail(subject, "Your link: https://tally.example.com/secret", None, [to], html_message="<p>secret</p>")
    return OutgoingMail.objects.latest("pk")


def look(row):
    row.refresh_from_db()
    return row


def make_due(row):
    OutgoingMail.objects.filter(pk=row.pk).update(due_at=Now())


# Nobody waits for the mail server


@pytest.mark.parametrize(
    ("door", "fields", "status"),
    [
        ("/accounts/signup/", NEW, 302),
        ("/accounts/password/reset/", {"email": "alice@example.com"}, 302),
        ("/api/v1/auth/register", {"email": NEW["email"], "password": NEW["password1"]}, 202),
        ("/api/v1/auth/password/reset", {"email": "alice@example.com"}, 202),
    ],
)
@REAL
def test_sign_up_and_reset_answer_at_once_whatever_the_mail_server_does(
    client, alice, bad_server, settings, door, fields, status
):
    clear_queue()
    began = time.monotonic()
    kind = {"content_type": "application/json"} if door.startswith("/api/") else {}
    assert client.post(door, fields, **kind).status_code == status
    assert time.monotonic() - began < LIMIT_SECONDS
    [row] = OutgoingMail.objects.all()
    assert take_tasks() == [("accounts.deliver_mail", {"mail_id": row.pk})]
    deliver_mail(mail_id=row.pk)
    assert (look(row).sent_at, row.tries_count, "http" in row.text) == (None, 1, True)
    settings.DELIVERY_EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    make_due(row)
    assert [sent.to for sent in read_mails()] == [[fields["email"]]]


def test_a_mail_server_that_never_answers_is_left_after_the_time_limit(db, bad_server):
    row = write()
    began = time.monotonic()
    deliver_mail(mail_id=row.pk)
    assert time.monotonic() - began < 3 * LIMIT_SECONDS
    assert look(row).error


@REAL
def test_mails_that_cannot_be_sent_stop_nothing_in_the_default_worker(alice, bad_server, monkeypatch):
    swept = threading.Event()
    monkeypatch.setattr("inference.tasks.sweep", swept.set)
    clear_queue()
    for _ in range(4):
        notify(user_id=alice.pk, name="low_balance", path="/credits/", available="4", below="5")
    with start_worker(current_app, pool="threads", concurrency=1, perform_ping_check=False, queues=["default"]):
        current_app.send_task("inference.sweep_generations", queue="default")
        assert swept.wait(3 * LIMIT_SECONDS)
    assert [row.tries_count for row in OutgoingMail.objects.all()] == [0] * 4
    assert [name for name, _ in take_tasks("mail")] == ["accounts.deliver_mail"] * 4


@REAL
def test_while_the_mail_server_is_waited_for_neither_a_row_nor_a_connection_is_held(alice, before_sending):
    row, seen = write(), []

    def lock_the_row():
        with transaction.atomic():
            seen.append(OutgoingMail.objects.select_for_update(nowait=True).get(pk=row.pk).tries_count)
        connection.close()

    def look_around():
        seen.append(connection.connection)
        thread = threading.Thread(target=lock_the_row)
        thread.start()
        thread.join()

    before_sending(look_around)
    deliver_mail(mail_id=row.pk)
    assert seen == [None, 1]


# From the transaction to the mailbox


@REAL
def test_a_mail_is_sent_after_the_commit_and_forgets_what_it_said(db):
    clear_queue()
    with transaction.atomic():
        row = write()
        assert take_tasks() == []
    assert mail.outbox == []
    assert run_tasks() == ["accounts.deliver_mail"]
    [sent] = mail.outbox
    assert (sent.subject, sent.to, sent.from_email) == ("Hello", ["alice@example.com"], "Tally <tally@localhost>")
    assert ("secret" in sent.body, sent.alternatives[0].content) == (True, "<p>secret</p>")
    assert (look(row).text, row.html, row.sent_at is None) == ("", "", False)


@REAL
def test_a_transaction_that_is_rolled_back_sends_nothing(db):
    clear_queue()
    with transaction.atomic():
        write()
        transaction.set_rollback(True)
    assert (OutgoingMail.objects.count(), take_tasks()) == (0, [])


def test_headers_and_a_mail_of_html_alone_arrive_as_they_were_written(db):
    message = EmailMessage("Hi", "<p>Hi</p>", to=["a@example.com", "b@example.com"], reply_to=["c@example.com"])
    message.content_subtype, message.extra_headers = "html", {"Message-ID": "<mine@example.com>"}
    assert message.send() == 1
    [sent] = read_mails()
    written = sent.message()
    assert (written["To"], written["Reply-To"]) == ("a@example.com, b@example.com", "c@example.com")
    assert written["Message-ID"] == "<mine@example.com>"
    assert [part.get_content_type() for part in written.walk()] == ["multipart/alternative", "text/html"]


def test_what_the_outbox_has_no_column_for_is_refused_at_once(db):
    attached = EmailMultiAlternatives("Hi", "Hi", to=["a@example.com"])
    attached.attach("a.txt", "a")
    for message in (attached, EmailMessage("Hi", to=["a@example.com"], bcc=["b@example.com"])):
        with pytest.raises(ValueError, match="neither copies nor attachments"):
            message.send()


# Once


@REAL
def test_eight_workers_at_once_send_one_mail(db, before_sending):
    row = write()
    before_sending(lambda: time.sleep(0.2))
    assert at_once(8, lambda _n: deliver_mail(mail_id=row.pk)) == [None] * 8
    assert (len(mail.outbox), look(row).tries_count) == (1, 1)


def test_a_worker_that_dies_leaves_a_claim_that_lapses_and_the_next_mail_is_the_same(db, before_sending, settings):
    row = write()
    before_sending(killed)
    with pytest.raises(Killed):
        deliver_mail(mail_id=row.pk)
    before_sending(lambda: None)
    deliver_mail(mail_id=row.pk)
    assert mail.outbox == []  # the claim is good for longer than the mail server may take
    assert timedelta(seconds=10 * settings.EMAIL_TIMEOUT) < look(row).due_at - row.created_at
    make_due(row)
    for _ in range(2):
        deliver_mail(mail_id=row.pk)
    assert [sent.extra_headers["Message-ID"] for sent in mail.outbox] == [row.headers["Message-ID"]]


def test_a_failure_that_comes_after_the_claim_lapsed_takes_nothing_from_who_has_the_mail_now(db, before_sending):
    row = write()

    def somebody_else_claims_and_the_server_refuses():
        later = Now() + timedelta(hours=9)
        OutgoingMail.objects.filter(pk=row.pk).update(tries_count=F("tries_count") + 1, due_at=later)
        refused()

    before_sending(somebody_else_claims_and_the_server_refuses)
    deliver_mail(mail_id=row.pk)
    assert (look(row).tries_count, row.error) == (2, "")
    assert row.due_at - row.created_at > timedelta(hours=8)


# Whatever goes wrong


@REAL
def test_with_the_broker_away_sign_up_works_and_the_mail_follows(client, db, monkeypatch):
    def away(*_args, **_options):
        raise OperationalError("the broker is away")

    clear_queue()
    with monkeypatch.context() as broken:
        broken.setattr(current_app, "send_task", away)
        assert client.post(reverse("account_signup"), NEW).status_code == 302
    assert run_tasks() == []
    assert (queue_due_mails(), run_tasks(), queue_due_mails()) == (1, ["accounts.deliver_mail"], 0)
    assert [sent.to for sent in mail.outbox] == [[NEW["email"]]]


def test_failures_are_tried_again_after_growing_pauses_for_two_hours_and_then_given_up(db, before_sending, caplog):
    row, pauses = write(), []
    before_sending(refused)
    for _ in PAUSES:
        deliver_mail(mail_id=row.pk)
        deliver_mail(mail_id=row.pk)  # not due
        [now] = OutgoingMail.objects.filter(pk=row.pk).values_list(Now(), flat=True)
        pauses.append(look(row).due_at - now)
        assert (row.given_up_at, row.error, "secret" in row.text) == (None, "OSError('refused')", True)
        make_due(row)
    assert all(longer > shorter for shorter, longer in pairwise(pauses))
    assert timedelta(minutes=110) < sum(pauses, timedelta()) < timedelta(minutes=130)
    assert [record for record in caplog.records if record.levelno == logging.CRITICAL] == []
    deliver_mail(mail_id=row.pk)
    assert (look(row).given_up_at is None, row.error, row.text, row.html) == (False, "OSError('refused')", "", "")
    [critical] = [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL]
    assert critical == f"mail {row.pk} was given up after {len(PAUSES) + 1} tries: OSError('refused')"
    before_sending(lambda: None)
    make_due(row)
    deliver_mail(mail_id=row.pk)
    assert (mail.outbox, queue_due_mails()) == ([], 0)


def test_without_a_mail_worker_mails_are_given_up_after_a_day_and_gone_after_thirty(db, caplog):
    rows = [write(), write(), write()]
    for row, days in zip(rows, (0, 1, 30), strict=True):
        OutgoingMail.objects.filter(pk=row.pk).update(created_at=Now() - timedelta(days=days, minutes=1))
    give_up_old_mails()
    purge_accounts()
    assert "2 mails were given up" in caplog.text
    kept = [(row.pk, row.given_up_at is None, bool(row.text)) for row in OutgoingMail.objects.order_by("pk")]
    assert kept == [(rows[0].pk, True, True), (rows[1].pk, False, False)]


def test_the_database_refuses_to_keep_what_a_mail_said_once_it_has_ended(db):
    for end in ("sent_at", "given_up_at"):
        with pytest.raises(IntegrityError, match="that_ended_has_no_body"), transaction.atomic():
            OutgoingMail.objects.filter(pk=write().pk).update(**{end: Now()})


# People and settings


def test_who_closes_their_account_gets_one_last_mail_and_the_others_are_erased(alice, bob):
    write(to="alice@example.com")
    write(to="bob@example.com")
    close_account(user=alice, forfeits_microcredits=plan_closing(user=alice).forfeits_microcredits)
    left = OutgoingMail.objects.order_by("pk").values_list("recipients", "subject")
    assert list(left) == [(["bob@example.com"], "Hello"), (["alice@example.com"], "Your account was closed")]


def test_production_sends_with_what_email_url_says_and_keeps_the_outbox(monkeypatch):
    found = read_production(monkeypatch, EMAIL_URL="smtp+tls://u:p@mx:587")
    assert found["EMAIL_BACKEND"] == "accounts.mail.outbox.OutboxBackend"
    assert found["DELIVERY_EMAIL_BACKEND"] == "django.core.mail.backends.smtp.EmailBackend"
    assert (found["EMAIL_HOST"], found["EMAIL_PORT"], found["EMAIL_TIMEOUT"]) == ("mx", 587, 10)
