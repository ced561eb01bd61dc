"""What waits for a member of the staff: what is late first, and of all of it only what the person may see."""

from dataclasses import dataclass, field
from typing import Any

from accounts.models import User
from billing.for_staff.approvals import Approval, read_waiting
from billing.for_staff.waiting import read_disputes, read_failed_refunds, read_faulty_proof, read_open_events
from inference.generations import releasing
from inference.models import CatalogueModel, Generation

MOST_STUCK = 10
MOST_MODELS = 20


@dataclass(slots=True)
class Waiting:
    """What waits, by kind. A list that is empty because the person may not see it looks as one with nothing in it.

    `decidable` are the approvals on which this person decides, `own` those that others must decide on.
    """

    decidable: list[Approval] = field(default_factory=list)
    own: list[Approval] = field(default_factory=list)
    stuck: list[Generation] = field(default_factory=list)
    disputes: list[Any] = field(default_factory=list)
    failed: list[Any] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    proof: Any = None
    models: list[CatalogueModel] = field(default_factory=list)

    @property
    def is_nothing(self) -> bool:
        """Whether nothing waits."""
        lists: list[list[Any]] = [self.decidable, self.stuck, self.disputes, self.failed, self.events, self.models]
        return self.proof is None and not any(lists)


def read_waiting_for(staff: User) -> Waiting:
    """Read what waits for this person. At most eight queries, each of few rows by an index."""
    may, found = staff.has_perm, Waiting()
    asked = read_waiting(staff)
    found.decidable = [one for one in asked if one.may_decide(staff)]
    found.own = [one for one in asked if one.is_own(staff)]
    if may(releasing.PERMISSION):
        stuck = releasing.stuck().select_related("user", "hold").defer("text", "prompt_token_ids")
        found.stuck = list(stuck.order_by("created_at")[:MOST_STUCK])
    if may("billing.make_refund"):
        found.disputes, found.failed = read_disputes(), read_failed_refunds()
    if may("billing.view_paymentevent"):
        found.events, found.proof = read_open_events(), read_faulty_proof()
    if may("inference.change_cataloguemodel"):
        unready = CatalogueModel.objects.offered().exclude(unavailable_reason="")
        found.models = list(unready[:MOST_MODELS])
    return found
