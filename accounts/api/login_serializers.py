"""Bodies and answers of logging in."""

from typing import Any

from rest_framework import serializers

from accounts.models import ApiSession
from core.rest.fields import ApiInput, Email, Flag, Secret, Text


class LoginIn(ApiInput):
    """An address and its password."""

    email = Email(max_length=254)
    password = Secret()


class TokenIn(LoginIn):
    """A log-in, with a code where the user has a second factor."""

    code = Secret(
        required=False,
        help_text="Of the authenticator app, or a recovery code; wanted when the user has turned two-step on.",
    )


class EmailIn(ApiInput):
    """An address."""

    email = Email(max_length=254)


class RefreshIn(ApiInput):
    """A refresh token."""

    refresh = Text(max_length=2000)


class VerifyTokenIn(ApiInput):
    """An access token."""

    token = Text(max_length=2000)


class LogoutIn(ApiInput):
    """Which log-ins end."""

    everywhere = Flag(default=False, help_text="All log-ins through the API, not only this one.")


class PasswordChangeIn(ApiInput):
    """The old and the new."""

    current_password = Secret()
    password = Secret()


class PasswordResetIn(ApiInput):
    """A mailed key and the new password."""

    key = Text(max_length=200)
    password = Secret()


class VerifyEmailIn(ApiInput):
    """A mailed key."""

    key = Text(max_length=200)


class NoticeOut(serializers.Serializer[Any]):
    """Something that was set going."""

    detail = serializers.CharField()


class TokenOut(serializers.Serializer[Any]):
    """A pair of tokens, from an `api_sessions.TokenPair`."""

    access = serializers.CharField(help_text="Send it as `Authorization: Bearer`.")
    refresh = serializers.CharField(help_text="Exchange it for a new pair before fourteen days are over. Good once.")
    access_seconds = serializers.IntegerField(help_text="How long `access` is good.")
    session_id = serializers.UUIDField(source="session.pk", help_text="Ends with DELETE /api/v1/sessions/{session_id}.")


class VerifiedTokenOut(serializers.ModelSerializer[ApiSession]):
    """Whose token it is."""

    session_id = serializers.UUIDField(source="pk")
    user_id = serializers.IntegerField()
    email = serializers.EmailField(source="user.email")

    class Meta:
        model = ApiSession
        fields = ("session_id", "user_id", "email")


class SessionOut(serializers.ModelSerializer[ApiSession]):
    """A log-in."""

    is_current = serializers.SerializerMethodField(help_text="Whether this log-in is the one that asks.")

    class Meta:
        model = ApiSession
        fields = ("id", "address", "user_agent", "created_at", "refreshed_at", "expires_at", "is_current")
        read_only_fields = fields

    def get_is_current(self, session: ApiSession) -> bool:
        """Compared with the caller's."""
        request = self.context.get("request")
        return request is not None and request.auth == session
