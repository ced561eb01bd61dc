"""The second factor: how its secrets are kept, and how codes are checked and counted.

allauth.mfa has the rest: authenticator apps (TOTP), recovery codes and passkeys, and the step of the log-in. A user who
has an app or a passkey logs in nowhere with the password alone, neither on the pages nor through the API.
"""

import base64
import hashlib
from typing import Any

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.mail.security_notices import tell_of_wrong_codes
from accounts.models import User
from core.rest.throttles import LOGIN, GuessLimit, RateLimited, count_try, demand_allowed

CODES = GuessLimit("second-factor", by_address=(), by_account=LOGIN.by_account)
MAILED_AGAIN_SECONDS = 3600
PERIOD_SECONDS = 30  # of an app's code (RFC 6238)
FACTORS = [Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN]
SECRETS = {Authenticator.Type.TOTP: "secret", Authenticator.Type.RECOVERY_CODES: "seed"}


class CodeWanted(Exception):
    """The password is right, and the user has a second factor: a code is wanted too."""


class WrongCode(Exception):
    """The code is wrong, too old, or was used before."""


class MfaAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # it has no types
    """Keeps secrets encrypted, with a key made from SECRET_KEY, and gives things Tally's names."""

    error_messages = DefaultMFAAdapter.error_messages | {
        "incorrect_code": gettext_lazy("This code is wrong, too old, or was used before."),
    }

    def encrypt(self, text: str) -> str:
        """Return the text as it is stored."""
        return str(_cipher().encrypt(text.encode()), "ascii")

    def decrypt(self, encrypted_text: str) -> str:
        """Return the text of what is stored. Raises InvalidToken if its SECRET_KEY is no longer among the settings."""
        return str(_cipher().decrypt(encrypted_text.encode()), "utf-8")

    def generate_authenticator_name(self, user: User, type: Authenticator.Type) -> str:  # noqa: A002  allauth's name
        """The name that the form of a new passkey proposes."""
        count = Authenticator.objects.filter(user=user, type=type).count()
        return _("Passkey {number}").format(number=count + 1)

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        """Who the browser makes a passkey for: this host, by the name of Tally."""
        here: dict[str, str] = super().get_public_key_credential_rp_entity()
        return here | {"name": "Tally"}


def has_second_factor(user: User) -> bool:
    """Whether the user has an app or a passkey, so that the password alone logs nobody in."""
    return bool(is_mfa_enabled(user, FACTORS))


def confirm_code(*, request: HttpRequest, user: User, code: str | None) -> bool:
    """Return whether a second factor was given: False for a user who has none.

    It is a code of the app, or a recovery code.

    Raises CodeWanted without a code, WrongCode for a wrong one, which counts, and RateLimited after too many.
    """
    if not has_second_factor(user):
        return False
    if not code:
        raise CodeWanted(_("Send a code of your authenticator app, or a recovery code, in `code`."))
    demand_codes_open(request, user)
    for authenticator in Authenticator.objects.filter(user=user).exclude(type=Authenticator.Type.WEBAUTHN):
        if authenticator.wrap().validate_code(code) and take_code(user, code):
            authenticator.record_usage()
            return True
    count_wrong_code(request, user)
    raise WrongCode(_("This code is wrong, too old, or was used before."))


def take_code(user: User, code: str) -> bool:
    """Whether this right code is used for the first time. allauth remembers it for less long than it accepts it."""
    seconds = PERIOD_SECONDS * (2 * settings.MFA_TOTP_TOLERANCE + 1)
    return bool(cache.add(f"code-used:{user.pk}:{''.join(code.split())}", True, seconds))


def demand_codes_open(request: HttpRequest, user: User) -> None:
    """Raise RateLimited while there were too many wrong codes."""
    demand_allowed(request, CODES, str(user.pk))


def count_wrong_code(request: HttpRequest, user: User) -> None:
    """Count a wrong code. The one that reaches the limit is mailed to the owner: whoever sent it has the password."""
    count_try(request, CODES, str(user.pk))
    try:
        demand_codes_open(request, user)
    except RateLimited:
        if cache.add(f"wrong-codes-mailed:{user.pk}", True, MAILED_AGAIN_SECONDS):
            tell_of_wrong_codes(user=user)


def renew_secrets() -> int:
    """Encrypt secrets anew that an earlier SECRET_KEY encrypted, so that it can be removed; return how many."""
    renewed = 0
    newest = Fernet(_keys()[0])
    for authenticator in Authenticator.objects.filter(type__in=SECRETS):
        place = SECRETS[authenticator.type]
        kept = authenticator.data[place].encode()
        try:
            newest.decrypt(kept)
        except InvalidToken:
            authenticator.data[place] = _cipher().rotate(kept).decode()
            authenticator.save(update_fields=["data"])
            renewed += 1
    return renewed


def describe(user: User) -> dict[str, Any]:
    """What the user has set up: `has_app`, `passkeys`, and how many recovery codes are left of how many. One query."""
    mine = list(Authenticator.objects.filter(user=user).order_by("pk"))
    codes = next((one.wrap() for one in mine if one.type == Authenticator.Type.RECOVERY_CODES), None)
    return {
        "has_app": any(one.type == Authenticator.Type.TOTP for one in mine),
        "passkeys": [one for one in mine if one.type == Authenticator.Type.WEBAUTHN],
        "codes_left": len(codes.get_unused_codes()) if codes else 0,
        "codes_made": len(codes.generate_codes()) if codes else 0,
    }


def _cipher() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in _keys()])


def _keys() -> list[bytes]:
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return [base64.urlsafe_b64encode(hashlib.sha256(f"second factor {one}".encode()).digest()) for one in secrets]
