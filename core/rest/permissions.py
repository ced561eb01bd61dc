"""The base class of permissions, which also tells the documentation who may call an operation."""

from rest_framework.permissions import BasePermission


class TallyPermission(BasePermission):
    """A permission whose `described` is added to the operation's description and says who may call."""

    described = ""

    @classmethod
    def takes_keys(cls, _method: str) -> bool:
        """Whether an API key with the right scope is enough for this HTTP method."""
        return True
