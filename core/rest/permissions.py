"""Who may call an operation, as the documentation says it."""

from rest_framework.permissions import BasePermission


class TallyPermission(BasePermission):
    """What the documentation says about who may call; `described` goes into the operation's text."""

    described = ""

    @classmethod
    def takes_keys(cls, _method: str) -> bool:
        """Whether a key may do for this method, given the scope."""
        return True
