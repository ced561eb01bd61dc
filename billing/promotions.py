"""Promotion codes: credits for whoever knows the code, within its limits."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from billing import ledger
from billing.models import EntryKind, PromotionCode, Redemption, TopUp, TopUpState

ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"  # nothing that is read as something else
GENERATED_LENGTH = 12  # 31 ** 12 possible codes: nobody guesses one


class InvalidCode(Exception):
    """The code gives nothing to this user now; the message says why. Nothing was credited."""


@dataclass(frozen=True, slots=True)
class CodeTerms:
    """What each code of a generated stock is worth, and for whom."""

    credits_microcredits: int
    batch: str
    expires_after_days: int | None = None
    ends_at: datetime | None = None
    is_for_new_users: bool = False


@transaction.atomic
def redeem_code(*, user: User, text: str) -> Redemption:
    """Credit a code to the user. Raises InvalidCode; a code cannot be used beyond its limits by clicking twice."""
    wallet = ledger.lock_wallet(user=user)
    code = PromotionCode.objects.spelled(text.replace("\x00", "")).select_for_update().first()
    if code is None:
        raise InvalidCode(_("There is no such code. Check the spelling."))
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
    return Redemption.objects.create(code=code, wallet=wallet, number=used + 1, entry=entry)


def generate_codes(*, terms: CodeTerms, count: int) -> list[PromotionCode]:
    """Make a stock of single-use codes. Raises ValueError unless 1 to 10,000 are asked for."""
    if not 1 <= count <= 10_000:
        raise ValueError("between 1 and 10,000 codes at a time")
    return PromotionCode.objects.bulk_create(
        PromotionCode(
            code="".join(secrets.choice(ALPHABET) for _position in range(GENERATED_LENGTH)),
            credits_microcredits=terms.credits_microcredits,
            expires_after_days=terms.expires_after_days,
            ends_at=terms.ends_at,
            most_redemptions=1,
            is_for_new_users=terms.is_for_new_users,
            batch=terms.batch,
        )
        for _number in range(count)
    )


def _refuse_outside_limits(code: PromotionCode, user: User, used: int) -> None:
    now = timezone.now()
    if not code.is_active or now < code.starts_at:
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
    """Joined within NEW_CUSTOMER_DAYS and never bought."""
    is_recent = user.date_joined > timezone.now() - timedelta(days=settings.NEW_CUSTOMER_DAYS)
    return is_recent and not TopUp.objects.filter(user=user, state=TopUpState.PAID).exists()
