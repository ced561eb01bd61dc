"""What a customer used: charged credits by UTC day and model, straight from the ledger."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.db.models import Count, QuerySet, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from billing.models import EntryKind, LedgerEntry

RANGES_DAYS = (7, 30, 90)
DEFAULT_DAYS = 30


@dataclass(slots=True)
class ModelUse:
    """The answers of one model, summed over the range."""

    model_key: str
    answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    charged_microcredits: int = 0


@dataclass(frozen=True, slots=True)
class DayUse:
    """One UTC day: what each model cost, in the order of `Usage.models`."""

    day: date
    charged_microcredits: tuple[int, ...]

    @property
    def total_microcredits(self) -> int:
        """What the day cost."""
        return sum(self.charged_microcredits)


@dataclass(frozen=True, slots=True)
class Usage:
    """A range of days, the earliest first and none left out, and its models in the order of their keys."""

    models: list[ModelUse]
    days: list[DayUse]
    total: ModelUse


def parse_range(text: str | None) -> int:
    """The range a link asks for, in days; the default for anything else."""
    return next((days for days in RANGES_DAYS if str(days) == text), DEFAULT_DAYS)


def summarise_usage(entries: QuerySet[LedgerEntry], *, days: int) -> Usage:
    """Sum the usage entries among these over the last `days` UTC days, today included. One query."""
    last = timezone.now().astimezone(UTC).date()
    first = last - timedelta(days=days - 1)
    models: dict[str, ModelUse] = {}
    charges: dict[tuple[date, str], int] = defaultdict(int)
    total = ModelUse("")
    for day, key, *sums in _sums(entries, first, last):
        charges[day, key] += sums[-1]
        for use in (models.setdefault(key, ModelUse(key)), total):
            _add(use, *sums)
    keys = sorted(models)
    every_day = [first + timedelta(days=offset) for offset in range(days)]
    return Usage(
        models=[models[key] for key in keys],
        days=[DayUse(day, tuple(charges[day, key] for key in keys)) for day in every_day],
        total=total,
    )


def _sums(entries: QuerySet[LedgerEntry], first: date, last: date) -> list[tuple[date, str, int, int, int, int]]:
    """Day, model, answers, tokens in, tokens out, microcredits: a row for each day and model with any use."""
    period = (datetime.combine(first, time.min, UTC), datetime.combine(last, time.max, UTC))
    used = entries.filter(kind=EntryKind.USAGE, created_at__range=period).order_by()
    grouped = used.annotate(day=TruncDate("created_at", tzinfo=UTC)).values("day", "hold__model_key")
    rows = grouped.annotate(
        answers=Count("pk"),
        tokens_in=Sum("hold__prompt_tokens"),
        tokens_out=Sum("hold__completion_tokens"),
        charged=-Sum("amount_microcredits"),
    )
    return list(rows.values_list("day", "hold__model_key", "answers", "tokens_in", "tokens_out", "charged"))


def _add(use: ModelUse, answers: int, prompt_tokens: int, completion_tokens: int, charged_microcredits: int) -> None:
    use.answers += answers
    use.prompt_tokens += prompt_tokens
    use.completion_tokens += completion_tokens
    use.charged_microcredits += charged_microcredits
