"""Pages that change who may spend or log in ask for the password again, unless it was given some minutes ago.

Somebody may have left a log-in open. allauth keeps a form that was sent too late, and goes on with it afterwards.
"""

from collections.abc import Callable
from typing import Any, cast

from allauth.account.decorators import reauthentication_required

View = Callable[..., Any]


def recently_confirmed(view: View) -> View:
    """Decorate a view that a user may open for ACCOUNT_REAUTHENTICATION_TIMEOUT seconds after their password.

    A form should be sent to the address of its own page: after the password, people come back to that page.
    """
    return cast(View, reauthentication_required(view))
