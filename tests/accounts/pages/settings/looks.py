"""How the pages of the settings are looked at: phone and desktop, light and dark, and without scripts."""

from typing import Any

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESKTOP = {"viewport": {"width": 1440, "height": 900}}
LOOKS: list[dict[str, Any]] = [
    {**size, "color_scheme": scheme} for size in (PHONE, DESKTOP) for scheme in ("light", "dark")
]
NO_SCRIPT = {**PHONE, "java_script_enabled": False}


def name_of(look: dict[str, Any]) -> str:
    """The name of a picture's ending."""
    return f"{look['color_scheme']}-{look['viewport']['width']}"
