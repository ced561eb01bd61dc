"""Each rule: its reason made true for real, an alert that opens, is told once, and closes when the reason has gone."""

import subprocess
from contextlib import ExitStack
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from billing.ledger.verification.proofs import prove
from billing.models import PaymentEvent
from billing.stripe.events import receive_event
from billing.stripe.reconciliation import Finding, payments_compared
from inference.generations.endings import fail_generation
from inference.models import Generation
from inference.worker.status import forget_worker
from monitoring import machine, processes
from monitoring.alerts.rules import RULES
from monitoring.models import Alert
from monitoring.totals.samples import take_sample
from tests.billing.ledger.verification.forging import forge
from tests.inference.asking import ask
from tests.monitoring.alerts.going import go, later, states, subjects
from tests.monitoring.gpu_workers import NAME, say_alive
from tests.support.cast import answered_talk

OLD = timedelta(minutes=20)


class Reason:
    """What makes a rule true. `keep` is done before each round, as the rest of Tally would do it."""

    def __init__(self, request, stack):
        self.fixture, self.stack = request.getfixturevalue, stack

    def keep(self):
        """What goes on whether the reason is there or not."""

    def begin(self):
        raise NotImplementedError

    def end(self):
        raise NotImplementedError


class LedgerFault(Reason):
    """Somebody with the owner's rights changed a balance by hand."""

    def forge(self, microcredits):
        wallet = self.fixture("alice").wallet
        balance = f"balance_microcredits = balance_microcredits + {microcredits}"
        forge(f"UPDATE billing_wallet SET {balance} WHERE id = {wallet.pk}")
        prove()

    def begin(self):
        self.forge(1)

    def end(self):
        self.forge(-1)


class ProofOverdue(Reason):
    """The clock of the last proof is set back."""

    def begin(self):
        with later(-31 * 3600):
            prove()

    def end(self):
        prove()


class PaidNotCredited(Reason):
    """Stripe says that an order was paid, and the order is not for so much."""

    kind = "checkout.session.completed"

    def begin(self):
        session = {"id": "cs_1", "mode": "payment", "payment_status": "paid", "amount_total": 1, "currency": "usd"}
        session |= {"payment_intent": "pi_1", "metadata": {"topup_id": "11111111-1111-4111-8111-111111111111"}}
        receive_event(event={"id": "evt_1", "type": self.kind, "data": {"object": session}})
        assert PaymentEvent.objects.get().processed_at is None
        PaymentEvent.objects.update(received_at=timezone.now() - OLD)

    def end(self):
        PaymentEvent.objects.update(processed_at=timezone.now())


class Differences(Reason):
    """The comparison with Stripe found something."""

    def begin(self):
        payments_compared.send(sender=None, findings=[Finding("paid but not credited", "1", "cs_1", "5 usd")])

    def end(self):
        payments_compared.send(sender=None, findings=[])


class StuckHold(Reason):
    """Nothing frees a hold that has outlived its time."""

    def begin(self):
        self.fixture("settings").HOLD_LIFETIME_SECONDS = -1
        self.waiting = ask(self.fixture("alice"), self.fixture("catalogue"))

    def end(self):
        fail_generation(generation_id=self.waiting.pk, error="test")


class NoWorker(Reason):
    """The worker of the model on offer has ended."""

    is_there = True

    def keep(self):
        if self.is_there:
            say_alive(self.fixture("catalogue").key, written_at=timezone.now().timestamp())

    def begin(self):
        self.is_there = False
        forget_worker(NAME)

    def end(self):
        self.is_there = True


class QueueOld(Reason):
    """Nobody takes what waits."""

    def begin(self):
        self.waiting = ask(self.fixture("alice"), self.fixture("catalogue"))
        Generation.objects.update(created_at=timezone.now() - timedelta(seconds=90))

    def end(self):
        fail_generation(generation_id=self.waiting.pk, error="test")


class AnswersFail(Reason):
    """One of two answers fails."""

    is_over = False

    def keep(self):
        if self.is_over:
            take_sample()

    def begin(self):
        with later(-300):
            take_sample()
        take_sample()
        self.happen(self.fixture("alice"), self.fixture("catalogue"))

    def happen(self, alice, catalogue):
        answered_talk(alice, catalogue)
        fail_generation(generation_id=ask(alice, catalogue).pk, error="test")

    def end(self):
        self.is_over = True
        with later(303):
            take_sample()


class AnswersSlow(AnswersFail):
    """An answer takes seventy seconds, and begins late."""

    def happen(self, alice, catalogue):
        answered_talk(alice, catalogue)
        now = timezone.now()
        times = {"created_at": now - timedelta(seconds=70), "first_token_at": now, "last_token_at": now}
        Generation.objects.update(started_at=now, **times)


class Reported(Reason):
    """A machine reports its own figures, and its limit is low."""

    setting, usual, low = "ALERT_MEMORY_PERCENT", 99.99, 0.01

    def keep(self):
        processes.report("web@here", is_worker=False)

    def begin(self):
        setattr(self.fixture("settings"), self.setting, self.low)

    def end(self):
        setattr(self.fixture("settings"), self.setting, self.usual)


class Connections(Reported):
    """More connections than the limit."""

    setting, usual, low = "ALERT_CONNECTIONS_PERCENT", 99, 0.01


class DiskFull(Reported):
    """A small file system is full."""

    def begin(self):
        self.path = self.fixture("tmp_path") / "disk"
        self.path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", self.path], check=True)
        self.stack.callback(subprocess.run, ["umount", self.path], check=True)
        self.fixture("settings").ALERT_DISK_PATHS = [str(self.path)]
        self.fixture("settings").ALERT_DISK_PERCENT = 90
        (self.path / "log").write_bytes(bytes(250_000))

    def end(self):
        (self.path / "log").unlink()


class GpuHot(Reported):
    """What a machine with a GPU reports. This one has none: the driver's figures are made up."""

    def begin(self):
        self.heat(91)

    def end(self):
        self.heat(60)

    def heat(self, celsius):
        gpu = {"name": "NVIDIA H200", "temperature_celsius": celsius}
        self.fixture("monkeypatch").setattr(machine, "read_gpus", lambda: [gpu])


class BackupOverdue(Reason):
    """Nobody notes a backup."""

    def begin(self):
        self.fixture("settings").ALERT_BACKUP_HOURS = 0.05

    def end(self):
        with later(632):
            call_command("note_backup", stdout=StringIO())
        self.fixture("settings").ALERT_BACKUP_HOURS = 1


REASONS = [
    ("ledger_fault", "everything", LedgerFault),
    ("proof_overdue", "everything", ProofOverdue),
    ("paid_not_credited", "events", PaidNotCredited),
    ("paid_not_credited", "comparison", Differences),
    ("webhook_failing", "", PaidNotCredited),
    ("stuck_hold", "", StuckHold),
    ("no_worker", "gemma-3-270m", NoWorker),
    ("queue_old", "gemma-3-270m", QueueOld),
    ("answers_fail", "", AnswersFail),
    ("answers_slow", "", AnswersSlow),
    ("first_token", "", AnswersSlow),
    ("memory", None, Reported),
    ("disk", None, DiskFull),
    ("gpu_heat", None, GpuHot),
    ("connections", "", Connections),
    ("backup_overdue", "", BackupOverdue),
]
ELSEWHERE = {"worker_silent", "beat_silent", "redis_evicting", "certificate", "unread"}


@pytest.fixture
def reason_of(request):
    with ExitStack() as stack:
        yield lambda kind: kind(request, stack)


def test_every_rule_is_tried():
    assert {rule for rule, _about, _reason in REASONS} | ELSEWHERE == RULES.keys()


@pytest.mark.parametrize(("rule", "about", "kind"), REASONS)
def test_an_alert_opens_is_told_once_and_closes(rule, about, kind, reason_of, operator, alice, quiet):
    reason = reason_of(kind)

    def step(seconds):
        with later(seconds):
            reason.keep()
        go(seconds)
        return states(rule, about)

    assert step(0) == []
    reason.begin()
    at_once = "open" if not RULES[rule].opens_after else "pending"
    assert step(16) == ([] if rule == "backup_overdue" else [at_once])
    assert step(317) == ["open"]
    alert = Alert.objects.get(rule=rule, state="open")
    title = str(RULES[rule].title).format(about=alert.about)
    assert step(333) == ["open"]
    assert [subject.partition(title)[1:] for subject in subjects(title)] == [(title, "")]
    reason.end()
    assert step(648) == ["open"]
    assert step(949) == ["closed"]
    assert subjects(title)[1:] == [f"Tally: closed: {title}"]
