"""Everything that staff may see of one customer, for one page: a few of the latest rows of each kind."""

from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest

from accounts.login import second_factor
from accounts.login.own_devices import Device, list_browsers, list_programs
from accounts.models import ApiKey, AuditEvent, User
from backoffice.models import Note
from billing.for_staff.customer import AnswerRefunds, Money, read_money, read_refunds_of_answers
from inference.generations import releasing
from inference.models import Generation

MOST_ANSWERS = 8
MOST_KEYS = 6
MOST_LOG_INS = 6
MOST_NOTES = 10
MOST_EVENTS = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its charge, what was given back of it, and whether it is stuck."""

    generation: Generation
    refunds: AnswerRefunds
    is_stuck: bool

    @property
    def is_refundable(self) -> bool:
        """Whether some of its charge may still be given back."""
        charged = self.generation.hold.charged_microcredits or 0
        return self.refunds.waiting is None and charged > self.refunds.given_back_microcredits

    @property
    def is_refunded(self) -> bool:
        """Whether all of its charge was given back."""
        charged = self.generation.hold.charged_microcredits or 0
        return 0 < charged <= self.refunds.given_back_microcredits


@dataclass(slots=True)
class Customer:
    """What may be seen of a customer. What may not be seen is None, and stands nowhere on the page."""

    user: User
    money: Money | None = None
    answers: list[Answer] | None = None
    keys: list[ApiKey] | None = None
    log_ins: list[Device] | None = None
    factor: dict[str, Any] = field(default_factory=dict)
    notes: list[Note] | None = None
    events: list[AuditEvent] | None = None


def read_customer(request: HttpRequest, user: User) -> Customer:
    """Read what this member of the staff may see. A fixed number of queries, each of a few rows by an index."""
    customer = Customer(user)
    may = request.user.has_perm
    if may("billing.view_wallet"):
        customer.money = read_money(user)
    if may("inference.view_generation"):
        customer.answers = _read_answers(user)
    if may("accounts.view_apikey"):
        customer.keys = list(ApiKey.objects.for_user(user)[:MOST_KEYS])
    if may("accounts.view_apisession"):
        customer.log_ins = sorted(
            [*list_browsers(request, user), *list_programs(user)], key=lambda one: one.used_at, reverse=True
        )[:MOST_LOG_INS]
        customer.factor = second_factor.describe(user)
    if may("backoffice.view_note"):
        customer.notes = list(Note.objects.about(user)[:MOST_NOTES])
    if may("accounts.view_auditevent"):
        events = AuditEvent.objects.filter(subject=user).select_related("actor").order_by("-created_at", "-pk")
        customer.events = list(events[:MOST_EVENTS])
    return customer


def _read_answers(user: User) -> list[Answer]:
    """The latest answers, those that are stuck first."""
    latest = Generation.objects.for_user(user).select_related("hold").defer("text", "prompt_token_ids")
    generations = list(latest.order_by("-created_at")[:MOST_ANSWERS])
    stuck = list(releasing.stuck().filter(user=user).select_related("hold").defer("text", "prompt_token_ids")[:3])
    stuck_ids = {one.pk for one in stuck}
    generations = [*stuck, *(one for one in generations if one.pk not in stuck_ids)][:MOST_ANSWERS]
    refunds = read_refunds_of_answers(one.hold_id for one in generations)
    return [Answer(one, refunds[one.hold_id], one.pk in stuck_ids) for one in generations]
