"""How the pages are looked at: phone and desktop, light and dark, without scripts; and the codes of an app."""

import time
from typing import Any

from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESKTOP = {"viewport": {"width": 1440, "height": 900}}
LOOKS: list[dict[str, Any]] = [
    {**size, "color_scheme": scheme} for size in (PHONE, DESKTOP) for scheme in ("light", "dark")
]
NO_SCRIPT = {**PHONE, "java_script_enabled": False}


def name_of(look: dict[str, Any]) -> str:
    """The name of a picture's ending."""
    return f"{look['color_scheme']}-{look['viewport']['width']}"


def code_of(secret: str, later: int = 0) -> str:
    """What an authenticator app shows for a secret, `later` half minutes from now."""
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30 + later)))
