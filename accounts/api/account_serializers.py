"""Bodies and answers of the accounts' part of the API."""

from typing import Any

from rest_framework import serializers

from accounts.models import ApiKey, Scope, User
from core.rest.fields import ApiInput, Choice, Credits, Instant, Integer, Microcredits, Secret, Text

MOST_MODELS = 100
MOST_OVERLAP_SECONDS = 30 * 86_400


class MeOut(serializers.ModelSerializer[User]):
    """The caller."""

    class Meta:
        model = User
        fields = ("id", "email", "first_name", "last_name", "is_staff", "date_joined")
        read_only_fields = fields


class MeIn(ApiInput):
    """What people may change about themselves here."""

    first_name = Text(required=False, allow_blank=True, max_length=150)
    last_name = Text(required=False, allow_blank=True, max_length=150)


class KeyOut(serializers.ModelSerializer[ApiKey]):
    """A key without its secret."""

    monthly_cap_credits = Credits("monthly_cap_microcredits", allow_null=True)
    is_live = serializers.BooleanField(read_only=True, help_text="Neither revoked nor expired.")
    scopes = serializers.ListField(child=serializers.ChoiceField(Scope.values), read_only=True)
    models = serializers.ListField(
        source="allowed_models",
        child=serializers.CharField(),
        read_only=True,
        help_text="What it may ask; empty for all.",
    )
    replaced_until = serializers.DateTimeField(
        read_only=True, allow_null=True, help_text="Until when the text before the last rotation is good."
    )

    class Meta:
        model = ApiKey
        fields: tuple[str, ...] = (
            "id",
            "name",
            "prefix",
            "scopes",
            "models",
            "monthly_cap_microcredits",
            "monthly_cap_credits",
            "expires_at",
            "replaced_until",
            "last_used_at",
            "revoked_at",
            "created_at",
            "is_live",
        )
        read_only_fields = fields


class NewKeyOut(KeyOut):
    """A key with its text, this once."""

    key = serializers.SerializerMethodField(help_text="Keep it: it is never shown again.")

    class Meta(KeyOut.Meta):
        fields = ("key", *KeyOut.Meta.fields)
        read_only_fields = fields

    def get_key(self, _key: ApiKey) -> str:
        """The text that `create_key` returned."""
        return str(self.context["text"])


class PasswordIn(ApiInput):
    """What a log-in that is older than five minutes must send."""

    password = Secret(required=False, help_text="Wanted when the log-in is older than five minutes.")


class KeyIn(PasswordIn):
    """A new key."""

    name = Text(max_length=60)
    scopes = serializers.ListField(child=Choice(Scope.values), min_length=1, max_length=len(Scope))
    models = serializers.ListField(
        source="allowed_models",
        child=Text(max_length=64),
        required=False,
        max_length=MOST_MODELS,
        help_text="What it may ask; empty for all.",
    )
    monthly_cap_microcredits = Microcredits(
        required=False, allow_null=True, min_value=1, help_text="What it may spend in a calendar month (UTC)."
    )
    expires_at = Instant(required=False, allow_null=True, help_text="In the future; null for never.")


class KeyChangeIn(KeyIn):
    """What changes about a key; what is left out stays."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options | {"partial": True})


class RotateIn(PasswordIn):
    """For how long the text before is good."""

    overlap_seconds = Integer(
        required=False,
        default=86_400,
        min_value=0,
        max_value=MOST_OVERLAP_SECONDS,
        help_text="How long the text before goes on, beside the new one; a day unless you say, 30 days at most.",
    )
