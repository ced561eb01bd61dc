"""Bodies and answers of staff's part of accounts."""

import django_filters
from django import forms
from django.db.models import Q, QuerySet
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.models import AuditEvent, User
from core.rest.fields import ApiInput, Text

MOST_ID = 2**63 - 1


class UserOut(serializers.ModelSerializer[User]):
    """A user, as staff sees one."""

    is_closed = serializers.SerializerMethodField(help_text="Closed by its owner: the person was erased.")

    class Meta:
        model = User
        fields = (
            "id",
            "email",
            "first_name",
            "last_name",
            "is_active",
            "is_staff",
            "is_closed",
            "date_joined",
            "last_login",
        )
        read_only_fields = fields

    def get_is_closed(self, user: User) -> bool:
        """By the address that closing leaves."""
        return not user.is_active and user.email.endswith("@deleted.invalid")


class ReasonIn(ApiInput):
    """Why."""

    reason = Text(max_length=200, help_text="It stands in the audit log.")


class AuditOut(serializers.ModelSerializer[AuditEvent]):
    """What somebody did, to whom."""

    actor_email = serializers.EmailField(source="actor.email", read_only=True)
    subject_id = serializers.IntegerField(allow_null=True, read_only=True)
    actor_id = serializers.IntegerField(read_only=True)
    details = serializers.DictField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = AuditEvent
        fields = ("id", "action", "actor_id", "actor_email", "subject_id", "details", "created_at")
        read_only_fields = fields


@extend_schema_field({"type": "integer", "minimum": 1, "maximum": MOST_ID})
class IdFilter(django_filters.NumberFilter):  # type: ignore[misc]
    """By the number of a row."""

    field_class = forms.IntegerField


class UserFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Who is looked for."""

    search = django_filters.CharFilter(max_length=100, method="find", help_text="Part of the address or of a name.")
    is_active = django_filters.BooleanFilter(help_text="Suspended users are not.")
    is_staff = django_filters.BooleanFilter()

    class Meta:
        model = User
        fields = ("is_active", "is_staff")

    @extend_schema_field({"type": "string", "minLength": 1, "maxLength": 100})
    def find(self, users: QuerySet[User], _name: str, text: str) -> QuerySet[User]:
        """In any case."""
        return users.filter(Q(email__icontains=text) | Q(first_name__icontains=text) | Q(last_name__icontains=text))


class AuditFilter(django_filters.FilterSet):  # type: ignore[misc]
    """What is looked for."""

    action = django_filters.CharFilter(max_length=60)
    actor_id = IdFilter(min_value=1, max_value=MOST_ID)
    subject_id = IdFilter(min_value=1, max_value=MOST_ID)

    class Meta:
        model = AuditEvent
        fields = ("action",)
