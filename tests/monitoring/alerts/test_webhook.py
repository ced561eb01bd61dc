"""The webhook, against a real HTTP server: signed, at least once, and harmless whatever the receiver does."""

import base64
import hashlib
import hmac
import json
import socket
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from monitoring.alerts import webhook
from monitoring.alerts.delivery import TRIED_FOR, deliver_due
from monitoring.models import Alert, AlertDelivery, AlertState
from monitoring.tasks import deliver_alerts
from tests.monitoring.alerts.going import go, later
from tests.monitoring.alerts.receiving import Receiver

KEY = b"k" * 32
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@pytest.fixture
def receiver(settings):
    receiver = Receiver()
    settings.ALERT_WEBHOOK_URL, settings.ALERT_WEBHOOK_SECRET = receiver.url, SECRET
    settings.ALERT_WEBHOOK_HOSTS = ["127.0.0.1"]
    yield receiver
    receiver.close()


def message(text="{}", **columns):
    """A message that waits to be sent."""
    now = timezone.now()
    alert, _new = Alert.objects.get_or_create(
        rule="disk",
        defaults={
            "state": AlertState.OPEN,
            "is_critical": True,
            "detail": "full",
            "over_since": now,
            "opened_at": now,
        },
    )
    return AlertDelivery.objects.create(alert=alert, body=text, **columns)


def test_an_alert_is_posted_when_it_opens_with_a_signature_that_fits(receiver, catalogue, quiet, settings):
    go(0)
    go(61)  # nobody serves the model on offer
    with later(62):
        deliver_alerts()
    [(path, headers, body)] = receiver.taken
    assert path == "/alerts?room=1"
    sent = json.loads(body)
    alert = Alert.objects.get(state="open")
    assert sent["event"] == "alert.opened"
    assert sent["id"] == headers["webhook-id"]
    assert sent["alert"]["title"] == f"No worker takes answers of {catalogue.key}"
    assert sent["alert"]["severity"] == "critical"
    assert sent["alert"]["url"] == f"{settings.PUBLIC_URL}/ops/alerts/{alert.pk}/"
    assert sent["alert"]["runbook_url"] == f"{settings.PUBLIC_URL}/ops/runbook/#no-worker-for-a-model"
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 120


def test_the_same_id_comes_again_until_it_is_taken(receiver, db):
    receiver.answers = [500, 503, 200]
    sent = message()
    waited = 0.0
    for pause in (0, 16, 31, 61):
        waited += pause
        with later(waited):
            deliver_due()
    assert [headers["webhook-id"] for _path, headers, _body in receiver.taken] == [str(sent.pk)] * 3
    sent.refresh_from_db()
    assert (sent.tries_count, sent.due_at, bool(sent.taken_at), sent.error) == (3, None, True, "")


def test_before_its_time_nothing_is_tried_again(receiver, db):
    receiver.answers = [500]
    message()
    deliver_due()
    deliver_due()
    with later(10):
        deliver_due()
    assert len(receiver.taken) == 1


def test_a_receiver_that_answers_500_for_a_day_gets_few_requests_and_then_everything(receiver, db):
    receiver.answers = [500]
    first = message("first")
    for minute in range(0, 24 * 60, 5):
        with later(minute * 60):
            deliver_due()
    assert 20 < len(receiver.taken) < 40
    second = message("second")
    receiver.answers, receiver.taken = [200], []
    with later(25 * 3600):
        assert deliver_due() == 2
    assert [body for _path, _headers, body in receiver.taken] == [b"first", b"second"]
    assert not AlertDelivery.objects.filter(pk__in=[first.pk, second.pk], due_at__isnull=False).exists()


def test_after_one_failure_the_others_wait(receiver, db):
    receiver.answers = [500]
    for _ in range(5):
        message()
    assert deliver_due() == 0
    assert len(receiver.taken) == 1


def test_after_three_days_it_is_given_up_and_logged(receiver, db, caplog):
    receiver.answers = [500]
    old = message(created_at=timezone.now() - TRIED_FOR - timedelta(hours=1))
    deliver_due()
    old.refresh_from_db()
    assert old.due_at is None
    assert old.taken_at is None
    assert "CRITICAL" in caplog.text


@pytest.mark.parametrize("hangs", ["silent", "dripping"])
def test_a_receiver_that_hangs_is_left(receiver, db, monkeypatch, hangs):
    monkeypatch.setattr(webhook, "SECONDS", 0.5)
    receiver.hangs = hangs
    sent = message()
    deliver_due()  # the time limit of pytest is what notices if it stays
    sent.refresh_from_db()
    assert sent.due_at > timezone.now()
    assert sent.error


def test_while_it_waits_no_row_is_locked_and_a_worker_that_dies_sends_again(receiver, db, monkeypatch):
    sent = message()

    def die(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(webhook, "post", die)
    with pytest.raises(KeyboardInterrupt):
        deliver_due()
    monkeypatch.undo()
    deliver_due()
    assert receiver.taken == []  # it is claimed
    with later(61):
        deliver_due()
    assert [headers["webhook-id"] for _path, headers, _body in receiver.taken] == [str(sent.pk)]


def test_no_redirect_is_followed(receiver, db):
    other = Receiver()
    receiver.answers, receiver.location = [307], other.url
    sent = message()
    deliver_due()
    other.close()
    sent.refresh_from_db()
    assert other.taken == []
    assert "a redirect, which is not followed" in sent.error


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "169.254.169.254", "[fe80::1]"])
def test_an_address_that_is_not_public_is_refused_unless_its_host_is_listed(settings, host):
    settings.ALERT_WEBHOOK_URL, settings.ALERT_WEBHOOK_SECRET = f"https://{host}/", SECRET
    with pytest.raises(webhook.NotTaken, match="is no public address"):
        webhook.post("1", "{}", timezone.now())


@pytest.mark.parametrize(
    ("address", "is_public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("::ffff:93.184.216.34", True),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_what_a_public_address_is(address, is_public):
    assert webhook._is_public(address) is is_public


def test_a_name_that_leads_to_one_private_address_among_others_is_refused(settings, monkeypatch):
    settings.ALERT_WEBHOOK_URL, settings.ALERT_WEBHOOK_SECRET = "https://rebinding.example/", SECRET
    found = [(socket.AF_INET, 1, 6, "", (address, 443)) for address in ("93.184.216.34", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)
    with pytest.raises(webhook.NotTaken, match=r"127\.0\.0\.1 is no public address"):
        webhook.post("1", "{}", timezone.now())


def test_a_certificate_that_nobody_trusts_is_refused(settings, tmp_path, receiver, db):
    settings.ALERT_WEBHOOK_URL = receiver.url.replace("http:", "https:")
    sent = message()
    deliver_due()
    sent.refresh_from_db()
    assert "SSL" in sent.error
