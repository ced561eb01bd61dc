"""Promotion codes: credits for everybody who knows the code, within its limits."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import User
from billing import approvals, ledger
from billing.models import EntryKind, PromotionCode, Redemption, TopUp, TopUpState, Wallet
from billing.topups.bonus_mailboxes import was_here_before
from core.repeats import asked_the_same

ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"  # no characters that look like others
MOST_GENERATED = 10_000
GENERATED_LENGTH = 12  # 31 ** 12 possible codes: nobody guesses one


class StockExists(ValueError):
    """There is another stock of this name, with other terms or another count."""


class InvalidCode(Exception):
    """The code gives nothing to this user now; the message says why. Nothing was credited."""


class ApprovalRefused(Exception):
    """This person cannot approve the code, or it does not wait for approval; the message says why."""


class CodeExists(Exception):
    """There is another code of this spelling."""


@dataclass(frozen=True, slots=True)
class CodeTerms:
    """The terms of each code in a generated stock: its worth, when and for whom it holds. `batch` names the stock."""

    credits_microcredits: int
    batch: str
    expires_after_days: int | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    is_for_new_users: bool = False


@transaction.atomic
def redeem_code(*, user: User, text: str, idempotency_key: str = "") -> Redemption:
    """Credit a code to the user, once for each key; the same key returns what it redeemed.

    Raises InvalidCode, and ledger.IdempotencyConflict if the key redeemed another code. Without a key the limits of a
    code still hold, but a double click uses a code twice if it may be used twice.
    """
    wallet = ledger.lock_wallet(user=user)
    earlier = _redeemed_before(wallet, idempotency_key)
    if earlier is not None:
        if not PromotionCode.objects.spelled(_clean(text)).filter(pk=earlier.code_id).exists():
            raise ledger.IdempotencyConflict(f"{idempotency_key} redeemed another code")
        return earlier
    code = PromotionCode.objects.spelled(_clean(text)).select_for_update().first()
    if code is None:
        raise InvalidCode(_("There is no such code. Check the spelling."))
    _refuse_own_code(code, user)
    used = code.redemptions.filter(wallet=wallet).count()
    _refuse_outside_limits(code, user, used)
    expires_at = None
    if code.expires_after_days is not None:
        expires_at = timezone.now() + timedelta(days=code.expires_after_days)
    entry = ledger.grant(
        user=user,
        kind=EntryKind.PROMOTION,
        amount_microcredits=code.credits_microcredits,
        idempotency_key=f"code:{code.pk}:{wallet.pk}:{used + 1}",
        reason=f"code {code.code}",
        expires_at=expires_at,
    )
    PromotionCode.objects.filter(pk=code.pk).update(redemptions_count=F("redemptions_count") + 1)
    return Redemption.objects.create(
        code=code, wallet=wallet, number=used + 1, entry=entry, idempotency_key=idempotency_key
    )


@transaction.atomic
def generate_codes(*, terms: CodeTerms, count: int, by: User | None = None) -> list[PromotionCode]:
    """Make a stock of single-use codes, once for each name: asked for again, it returns the same codes.

    If a person makes more than they may alone, the stock waits for a second person. Raises ValueError unless 1 to
    MOST_GENERATED codes are asked for under a name, and StockExists if the name has another stock.
    """
    if not 1 <= count <= MOST_GENERATED or not terms.batch.strip():
        raise ValueError("between 1 and 10,000 codes at a time, under a name")
    if by is not None:
        approvals.lock_person(by)
    fields = _fields_of(terms)
    with connection.cursor() as cursor:  # a new stock has no row yet that could be locked
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"codes {terms.batch}"])
    earlier = list(PromotionCode.objects.filter(batch=terms.batch).order_by("pk"))
    if earlier:
        if len(earlier) == count and asked_the_same(earlier[0], **fields):
            return earlier
        raise StockExists(_("There is another stock of this name."))
    worth = count * terms.credits_microcredits
    fields |= _author(by, worth)
    made = PromotionCode.objects.bulk_create(
        PromotionCode(code="".join(secrets.choice(ALPHABET) for _position in range(GENERATED_LENGTH)), **fields)
        for _number in range(count)
    )
    if by is not None:
        audit.record(actor=by, action="codes generated", batch=terms.batch, count=count, microcredits=worth)
    return made


@transaction.atomic
def create_code(*, code: str, by: User, **fields: Any) -> PromotionCode:
    """Make one code with these fields of `PromotionCode`. Raises CodeExists.

    A code that is worth more than a person may give alone, or that has no limit, waits for a second person.
    """
    approvals.lock_person(by)
    most = fields.get("most_redemptions")
    author = _author(by, None if most is None else most * fields["credits_microcredits"])
    try:
        with transaction.atomic():
            made = PromotionCode.objects.create(code=code.strip().upper(), **fields, **author)
    except IntegrityError as error:
        if "billing_code_is_unique" not in str(error):
            raise
        raise CodeExists(_("There is a code of this spelling.")) from error
    audit.record(actor=by, action="code created", code=made.code, microcredits=made.credits_microcredits)
    return made


@transaction.atomic
def approve_code(*, code: PromotionCode, by: User) -> PromotionCode:
    """Let a waiting code, with all of its stock, give credits.

    Raises ApprovalRefused if nothing waits or if `by` made any of the codes.
    """
    same = {"batch": code.batch} if code.batch else {"pk": code.pk}
    waiting = PromotionCode.objects.select_for_update().filter(is_waiting=True, **same)
    locked = list(waiting.order_by("pk"))
    if not locked:
        raise ApprovalRefused(_("This code does not wait for approval."))
    if any(one.created_by_id == by.pk for one in locked):
        raise ApprovalRefused(_("Somebody else must approve: you made this code."))
    PromotionCode.objects.filter(pk__in=[one.pk for one in locked]).update(is_waiting=False, approved_by=by)
    audit.record(actor=by, action="code approved", code=code.code, batch=code.batch, count=len(locked))
    code.refresh_from_db()
    return code


@transaction.atomic
def change_code(*, code: PromotionCode, ends_at: datetime | None, is_active: bool, by: User) -> PromotionCode:
    """Change the end of a code, withdraw it or bring it back. Its worth never changes."""
    locked = PromotionCode.objects.select_for_update().get(pk=code.pk)
    before = {"ends_at": locked.ends_at, "is_active": locked.is_active}
    locked.ends_at, locked.is_active = ends_at, is_active
    locked.save(update_fields=["ends_at", "is_active"])
    changed = audit.differences(before, {"ends_at": ends_at, "is_active": is_active})
    if changed:
        audit.record(actor=by, action="code changed", code=locked.code, **changed)
    return locked


@transaction.atomic
def withdraw_code(*, code: PromotionCode, by: User) -> PromotionCode:
    """Let a code give nothing from now on. Doing it again changes nothing."""
    if PromotionCode.objects.filter(pk=code.pk, is_active=True).update(is_active=False):
        audit.record(actor=by, action="code withdrawn", code=code.code)
    code.refresh_from_db()
    return code


def _clean(text: str) -> str:
    """Remove NUL characters, which PostgreSQL does not accept."""
    return text.replace("\x00", "")


def _redeemed_before(wallet: Wallet, idempotency_key: str) -> Redemption | None:
    if not idempotency_key:
        return None
    return wallet.redemptions.select_related("entry").filter(idempotency_key=idempotency_key).first()


def _fields_of(terms: CodeTerms) -> dict[str, Any]:
    """Return the fields that all codes of a stock have. Without `starts_at` they are valid as soon as they are made."""
    begins = {} if terms.starts_at is None else {"starts_at": terms.starts_at}
    return begins | {
        "credits_microcredits": terms.credits_microcredits,
        "expires_after_days": terms.expires_after_days,
        "ends_at": terms.ends_at,
        "most_redemptions": 1,
        "is_for_new_users": terms.is_for_new_users,
        "batch": terms.batch,
    }


def _author(by: User | None, worth_microcredits: int | None) -> dict[str, Any]:
    """Return who made codes of this worth, and whether a second person must approve them.

    The worth is None for a code without a limit.
    """
    if by is None:
        return {}
    is_waiting = worth_microcredits is None or approvals.needs_second_person(
        by=by, worth_microcredits=worth_microcredits
    )
    return {"created_by": by, "is_waiting": is_waiting}


def _refuse_own_code(code: PromotionCode, user: User) -> None:
    """Raise InvalidCode for the people who made or approved the code, or if its customer would get too much in a day.

    The limit a day is for codes that one person made alone, and counts what the staff gave the customer alone.
    """
    if user.pk in (code.created_by_id, code.approved_by_id):
        raise InvalidCode(_("You made or approved this code. It is for customers."))
    is_made_alone = code.created_by_id is not None and code.approved_by_id is None
    if is_made_alone and approvals.moved_for(user) + code.credits_microcredits > settings.REFUND_APPROVAL_MICROCREDITS:
        raise InvalidCode(_("You were given as much today as we give in a day. Redeem this code tomorrow."))


def _refuse_outside_limits(code: PromotionCode, user: User, used: int) -> None:
    now = timezone.now()
    if not code.is_active or code.is_waiting or now < code.starts_at:
        raise InvalidCode(_("This code is not valid now."))
    if code.ends_at is not None and now >= code.ends_at:
        raise InvalidCode(_("This code has expired."))
    if used >= code.most_per_user:
        raise InvalidCode(_("You have used this code already."))
    if code.most_redemptions is not None and code.redemptions_count >= code.most_redemptions:
        raise InvalidCode(_("This code has been used up."))
    if code.is_for_new_users and not _is_new(user):
        raise InvalidCode(_("This code is for new customers."))


def _is_new(user: User) -> bool:
    """Whether the user joined within NEW_CUSTOMER_DAYS, never bought, and had no other account with this mailbox."""
    is_recent = user.date_joined > timezone.now() - timedelta(days=settings.NEW_CUSTOMER_DAYS)
    has_bought = TopUp.objects.filter(user=user, state=TopUpState.PAID).exists()
    return is_recent and not has_bought and not was_here_before(user=user)
