"""What customers are told about their money, and when they want to be told."""

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.callers.authentication import LoggedInToChange, requires_scope
from accounts.callers.views import ApiList, ApiView
from accounts.models import User
from billing import ledger
from billing.api.examples import with_credits
from billing.ledger.caps import set_cap
from billing.ledger.thresholds import alert_threshold
from billing.models import Notice
from billing.notices.low_balance import set_alert
from billing.notices.notices import read_notices, url_of, words_of
from core.rest.fields import ApiInput, Credits, Microcredits
from core.rest.schema import operation

TAG = "Notifications and preferences"
READ_OR_WRITE = requires_scope("billing:read", write="billing:write")
NOTICE = {
    "id": 17,
    "kind": "low_balance",
    "subject": "Your balance is low: 4.918200 credits are left",
    "text": "Fewer than 5 credits are free to spend: 4.918200 are left.",
    "url": "https://tally.example.com/credits/",
    "created_at": "2026-11-22T14:09:00.000000Z",
    "read_at": None,
}
PREFERENCES = with_credits({"alert_below_microcredits": 5_000_000, "monthly_cap_microcredits": None})


class NotificationOut(serializers.ModelSerializer[Notice]):
    """Something a customer was told, as the e-mail said it."""

    kind = serializers.CharField(source="name", read_only=True, help_text="For programs; never translated.")
    subject = serializers.SerializerMethodField()
    text = serializers.SerializerMethodField()
    url = serializers.SerializerMethodField(help_text="The page that it leads to.")

    class Meta:
        model = Notice
        fields = ("id", "kind", "subject", "text", "url", "created_at", "read_at")
        read_only_fields = fields

    def get_subject(self, notice: Notice) -> str:
        """The mail's subject."""
        return words_of(notice)[0]

    def get_text(self, notice: Notice) -> str:
        """The mail's text."""
        return words_of(notice)[1]

    def get_url(self, notice: Notice) -> str:
        """The page that it leads to."""
        return url_of(notice)


class NoticeFilter(django_filters.FilterSet):  # type: ignore[misc]
    """By whether the customer has read them."""

    is_read = django_filters.BooleanFilter(field_name="read_at", lookup_expr="isnull", exclude=True)

    class Meta:
        model = Notice
        fields: tuple[str, ...] = ()


class Notices(ApiList):
    """What the caller was told."""

    permission_classes = (READ_OR_WRITE,)
    serializer_class = NotificationOut
    filterset_class = NoticeFilter
    ordering = "-id"

    def rows(self) -> QuerySet[Notice]:
        return Notice.objects.filter(user=self.caller)

    @operation(tag=TAG, summary="List my notifications", answer=NotificationOut(many=True), example=NOTICE)
    def get(self, request: Request) -> Response:
        """What you were told about your credits, the latest first. Each goes out by e-mail too."""
        return self.list(request)


class ReadOut(serializers.Serializer[Any]):
    """How many notifications were new."""

    read = serializers.IntegerField()


class ReadNotice(ApiView):
    """One of the caller's notices, and those before it."""

    permission_classes = (READ_OR_WRITE,)

    @operation(tag=TAG, summary="Mark notifications as read", answer=ReadOut, example={"read": 1})
    def post(self, _request: Request, notice_id: int) -> Response:
        """This one and all before it. Doing it again changes nothing."""
        notice = get_object_or_404(Notice, user=self.caller, pk=notice_id)
        return Response(ReadOut({"read": read_notices(user=self.caller, up_to=notice.pk)}).data)


class PreferencesOut(serializers.Serializer[Any]):
    """What the customer has chosen."""

    alert_below_microcredits = serializers.IntegerField(
        allow_null=True, help_text="You are told when what is free falls below this; null for never."
    )
    alert_below_credits = Credits("alert_below_microcredits", allow_null=True)
    monthly_cap_microcredits = serializers.IntegerField(
        allow_null=True, help_text="The most you want to spend in a calendar month (UTC); null for no cap."
    )
    monthly_cap_credits = Credits("monthly_cap_microcredits", allow_null=True)


class PreferencesIn(ApiInput):
    """The ones to change."""

    alert_below_microcredits = Microcredits(min_value=1, allow_null=True, required=False)
    monthly_cap_microcredits = Microcredits(min_value=1, allow_null=True, required=False)


class Preferences(ApiView):
    """The caller's choices about their spending."""

    permission_classes = (LoggedInToChange,)

    @operation(tag=TAG, summary="Look at my preferences", answer=PreferencesOut, example=PREFERENCES)
    def get(self, _request: Request) -> Response:
        """When you are told that your balance is low, and your monthly cap. Automatic top-ups are set on the pages."""
        return Response(PreferencesOut(preferences_of(self.caller)).data)

    @operation(
        tag=TAG,
        summary="Change my preferences",
        answer=PreferencesOut,
        example=PREFERENCES,
        body=PreferencesIn,
        body_example={"monthly_cap_microcredits": 200_000_000},
    )
    def patch(self, _request: Request) -> Response:
        """Change the ones that are sent; null turns one off. API keys are refused. What runs already is not stopped."""
        chosen = self.read_body(PreferencesIn)
        if "alert_below_microcredits" in chosen:
            set_alert(user=self.caller, below_microcredits=chosen["alert_below_microcredits"])
        if "monthly_cap_microcredits" in chosen:
            set_cap(user=self.caller, cap_microcredits=chosen["monthly_cap_microcredits"])
        return Response(PreferencesOut(preferences_of(self.caller)).data)


def preferences_of(user: User) -> dict[str, int | None]:
    """Return what the customer has chosen, in microcredits. Two queries."""
    wallet = ledger.open_wallet(user=user)
    return {
        "alert_below_microcredits": alert_threshold(wallet),
        "monthly_cap_microcredits": wallet.monthly_cap_microcredits,
    }
