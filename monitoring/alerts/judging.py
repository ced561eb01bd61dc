"""Applies the rules to the figures of now. The page of operations and the alerts share this one judgement."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.utils.translation import gettext as _

from monitoring.alerts.rules import RULES, Rule
from monitoring.overview import Overview, failed_percent
from monitoring.totals.metrics import FIRST_TOKEN, REQUEST_DURATION

ONE_IN_TWENTY = 0.95
PROOFS = {True: "everything", False: "new"}  # what alerts are about; the same in every language


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong by a rule: what it is about, and the figure with its limit, if it has one."""

    rule: Rule
    about: str
    detail: str
    value: float | None = None
    limit: float | None = None

    @property
    def title(self) -> str:
        """The rule's title, with what it is about."""
        return str(self.rule.title).format(about=self.about)

    @property
    def is_critical(self) -> bool:
        """As the rule says."""
        return self.rule.is_critical


def judge(overview: Overview) -> list[Finding]:
    """What is wrong, the critical first. Parts that could not be read are not judged, and named."""
    found = [finding for look in JUDGES for finding in look(overview)]
    return sorted(found, key=lambda finding: not finding.is_critical)


def is_unknown(rule: Rule, overview: Overview) -> bool:
    """Whether the figures of this rule could not be read, so that nobody knows how it stands."""
    return rule.part in overview.unread or (rule.part == "totals" and overview.period is None)


def _find(
    name: str, detail: str, *, about: str = "", value: float | None = None, limit: float | None = None
) -> Finding:
    return Finding(RULES[name], about, detail, value, limit)


def _of_ledger(overview: Overview) -> Iterator[Finding]:
    for proof in overview.proofs or ():
        if proof.faults:
            words = _("The last proof found {n}.").format(n=proof.faults)
            yield _find("ledger_fault", words, about=PROOFS[proof.is_of_everything], value=proof.faults)


def _of_proofs(overview: Overview) -> Iterator[Finding]:
    """A proof that there never was is overdue too, counted from when the rules were first applied."""
    if overview.proofs is None:
        return
    last = {proof.is_of_everything: proof.started_at for proof in overview.proofs}
    hours = {True: settings.ALERT_PROOF_EVERYTHING_HOURS, False: settings.ALERT_PROOF_NEW_HOURS}
    for is_of_everything, about in PROOFS.items():
        since = last.get(is_of_everything)
        late = _late_hours(overview, since or _began(overview), hours[is_of_everything])
        if late is not None:
            words = _at(_("The last one began at {at:%Y-%m-%d %H:%M} UTC."), since)
            yield _find("proof_overdue", words, about=about, value=late, limit=hours[is_of_everything])


def _of_payments(overview: Overview) -> Iterator[Finding]:
    events, mark = overview.open_events, overview.mark
    differences = mark.payment_differences if mark else 0
    if differences:
        words = _("The daily comparison with Stripe found {n} differences.").format(n=differences)
        yield _find("paid_not_credited", words, about="comparison", value=differences)
    if events and events.of_payments:
        words = _("{n} events say that money came, and gave no credits yet.").format(n=events.of_payments)
        yield _find("paid_not_credited", words, about="events", value=events.of_payments)
    if events and events.all:
        words = _("{n} events have been open for more than {minutes:.0f} min.")
        words = words.format(n=events.all, minutes=settings.ALERT_PAYMENT_MINUTES)
        yield _find("webhook_failing", words, value=events.all)


def _of_holds(overview: Overview) -> Iterator[Finding]:
    if overview.holds and overview.holds.stuck:
        stuck = overview.holds.stuck
        yield _find("stuck_hold", _("{n} have outlived their time.").format(n=stuck), value=stuck)


def _of_models(overview: Overview) -> Iterator[Finding]:
    for model in overview.models or ():
        if model.is_available and not model.workers:
            yield _find("no_worker", _("Customers can ask for it, and wait."), about=model.key)
        if model.oldest_seconds > settings.ALERT_QUEUE_SECONDS:
            detail = _("The oldest waits for {seconds:.0f} s, limit {limit:.0f} s; {n} wait.")
            limit = settings.ALERT_QUEUE_SECONDS
            words = detail.format(seconds=model.oldest_seconds, limit=limit, n=model.queued)
            yield _find("queue_old", words, about=model.key, value=model.oldest_seconds, limit=limit)


def _of_answers(overview: Overview) -> Iterator[Finding]:
    failed, limit = failed_percent(overview.period), settings.ALERT_FAILED_PERCENT
    if failed is not None and failed > limit:
        words = _("{failed:.1f} % in the last five minutes, limit {limit:g} %.").format(failed=failed, limit=limit)
        yield _find("answers_fail", words, value=failed, limit=limit)
    first, limit = overview.percentile(FIRST_TOKEN, ONE_IN_TWENTY), settings.ALERT_FIRST_TOKEN_SECONDS
    if first is not None and first > limit:
        words = _("One in twenty begins after {first:.1f} s, limit {limit:g} s.").format(first=first, limit=limit)
        yield _find("first_token", words, value=first, limit=limit)
    whole, limit = overview.percentile(REQUEST_DURATION, ONE_IN_TWENTY), settings.ALERT_ANSWER_SECONDS
    if whole is not None and whole > limit:
        words = _("One in twenty takes {whole:.1f} s, limit {limit:g} s.").format(whole=whole, limit=limit)
        yield _find("answers_slow", words, value=whole, limit=limit)


def _of_workers(overview: Overview) -> Iterator[Finding]:
    silent = overview.processes.silent_workers if overview.processes else {}
    for name, heard_at in silent.items():
        seconds = (overview.seen_at - heard_at).total_seconds()
        words = _at(_("It was last heard of at {at:%Y-%m-%d %H:%M} UTC, and did not say that it ends."), heard_at)
        yield _find("worker_silent", words, about=name, value=seconds, limit=settings.ALERT_WORKER_SILENT_SECONDS)


def _of_machines(overview: Overview) -> Iterator[Finding]:
    for machine in overview.processes.machines if overview.processes else ():
        figures = [("memory", machine.name, machine.memory_percent, settings.ALERT_MEMORY_PERCENT, "%")]
        for path, percent in machine.disks.items():
            figures.append(("disk", f"{machine.name} {path}", percent, settings.ALERT_DISK_PERCENT, "%"))
        for gpu, celsius in machine.gpus.items():
            figures.append(("gpu_heat", f"{machine.name} {gpu}", celsius, settings.ALERT_GPU_CELSIUS, "°C"))
        for rule, about, value, limit, unit in figures:
            if value > limit:
                words = _("{value:.0f} {unit}, limit {limit:g} {unit}.").format(value=value, limit=limit, unit=unit)
                yield _find(rule, words, about=about[:200], value=value, limit=limit)


def _of_redis(overview: Overview) -> Iterator[Finding]:
    """Keys that were thrown away since the last round."""
    before = overview.mark.redis_evicted if overview.mark else {}
    for name, count in (overview.redis_evicted or {}).items():
        more = count - before.get(name, count)
        if more > 0:
            yield _find("redis_evicting", _("{n} keys since the last look.").format(n=more), about=name, value=more)


def _of_postgresql(overview: Overview) -> Iterator[Finding]:
    server, limit = overview.server, settings.ALERT_CONNECTIONS_PERCENT
    if server and 100 * server.connections > limit * server.connections_limit:
        words = _("{n} of {limit} are in use.").format(n=server.connections, limit=server.connections_limit)
        percent = 100 * server.connections / server.connections_limit
        yield _find("connections", words, value=percent, limit=limit)


def _of_beat(overview: Overview) -> Iterator[Finding]:
    mark, limit = overview.mark, settings.ALERT_BEAT_SILENT_SECONDS
    silent = (overview.seen_at - (mark.beat_at or mark.began_at)).total_seconds() if mark else 0.0
    if mark and silent > limit:
        words = _at(
            _("Its last task came at {at:%Y-%m-%d %H:%M} UTC: what should be done regularly is not."), mark.beat_at
        )
        yield _find("beat_silent", words, value=silent, limit=limit)


def _of_certificate(overview: Overview) -> Iterator[Finding]:
    ends_at = overview.mark.certificate_ends_at if overview.mark else None
    days = (ends_at - overview.seen_at) / timedelta(days=1) if ends_at else None
    if days is not None and days < settings.ALERT_CERTIFICATE_DAYS:
        yield _find(
            "certificate",
            _at(_("It is valid until {at:%Y-%m-%d %H:%M} UTC."), ends_at),
            value=round(days, 2),
            limit=settings.ALERT_CERTIFICATE_DAYS,
        )


def _of_backup(overview: Overview) -> Iterator[Finding]:
    hours, mark = settings.ALERT_BACKUP_HOURS, overview.mark
    late = _late_hours(overview, (mark.backup_at or mark.began_at) if mark else None, hours) if hours else None
    if mark and late is not None:
        words = _at(_("The last one was noted at {at:%Y-%m-%d %H:%M} UTC."), mark.backup_at)
        yield _find("backup_overdue", words, value=late, limit=hours)


def _of_unread(overview: Overview) -> Iterator[Finding]:
    if overview.unread:
        yield _find("unread", ", ".join(dict.fromkeys(overview.unread.values())))


JUDGES: tuple[Callable[[Overview], Iterator[Finding]], ...] = (
    _of_ledger,
    _of_proofs,
    _of_payments,
    _of_holds,
    _of_models,
    _of_answers,
    _of_workers,
    _of_machines,
    _of_redis,
    _of_postgresql,
    _of_beat,
    _of_certificate,
    _of_backup,
    _of_unread,
)


def _began(overview: Overview) -> datetime | None:
    return overview.mark.began_at if overview.mark else None


def _late_hours(overview: Overview, since: datetime | None, limit: float) -> float | None:
    """For how many hours there was none, if that is longer than the limit."""
    hours = (overview.seen_at - since) / timedelta(hours=1) if since else 0.0
    return round(hours, 2) if hours > limit else None


def _at(words: str, moment: datetime | None) -> str:
    return words.format(at=moment) if moment else _("There was none yet.")
