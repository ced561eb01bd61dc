"""The caller's account, data export and API keys."""

from datetime import datetime, timedelta

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import api_keys, profile
from accounts.api import examples
from accounts.api.account_serializers import KeyChangeIn, KeyIn, KeyOut, MeIn, MeOut, NewKeyOut, PasswordIn, RotateIn
from accounts.callers.authentication import LoggedIn, LoggedInToChange
from accounts.callers.views import ApiList, ApiView
from accounts.data_export import stream_export
from accounts.login import registration
from accounts.models import ApiKey
from core.rest.problems import REFUSED, Problem, explain
from core.rest.schema import operation
from core.rest.throttles import EXPORT, count_try

EXPORTED = {
    "type": "object",
    "required": ["exported_at"],
    "properties": {"exported_at": {"type": "string", "format": "date-time"}},
    "additionalProperties": {"type": "array", "items": {"type": "object", "additionalProperties": True}},
}

explain(api_keys.TooManyKeys, REFUSED)
explain(api_keys.KeyEnded, REFUSED)


class Me(ApiView):
    """The caller."""

    permission_classes = (LoggedInToChange,)

    @operation(tag="Account", summary="Who am I", answer=MeOut, example=examples.ME)
    def get(self, _request: Request) -> Response:
        """The user behind the key or the log-in."""
        return Response(MeOut(self.caller).data)

    @operation(
        tag="Account",
        summary="Change my name",
        answer=MeOut,
        example=examples.ME,
        body=MeIn,
        body_example={"first_name": "Alice"},
    )
    def patch(self, _request: Request) -> Response:
        """Change the fields that are sent. API keys are refused."""
        user = profile.change_profile(user=self.caller, **self.read_body(MeIn))
        return Response(MeOut(user).data)


class DataExport(ApiView):
    """What is kept about the caller."""

    permission_classes = (LoggedIn,)

    @operation(
        tag="Account",
        summary="Download my data",
        answer=EXPORTED,
        example=examples.EXPORT,
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        """Everything that is kept about you, a list for each table, streamed. Five times an hour."""
        count_try(request._request, EXPORT, str(self.caller.pk))  # noqa: SLF001
        response = StreamingHttpResponse(stream_export(self.caller), content_type="application/json")
        response["Content-Disposition"] = 'attachment; filename="tally-data.json"'
        response["Cache-Control"] = "no-store"
        return response


class PasswordMixin(ApiView):
    """Views that need a recent log-in or the password, because somebody may have left a log-in open."""

    def demand_password(self, password: str | None) -> None:
        """Return if the password is right or the log-in a few minutes old. Raises PasswordWanted or FieldsRefused."""
        http = self.request._request  # noqa: SLF001
        registration.confirm_recently(request=http, session=self.session, password=password)


class Keys(PasswordMixin, ApiList):
    """The caller's keys."""

    permission_classes = (LoggedIn,)
    serializer_class = KeyOut

    def rows(self) -> QuerySet[ApiKey]:
        return ApiKey.objects.for_user(self.caller)

    @operation(tag="API keys", summary="List my keys", answer=KeyOut(many=True), example=examples.KEY)
    def get(self, request: Request) -> Response:
        """Every key, revoked and expired ones too, the latest first. Secrets are never shown again."""
        return self.list(request)

    @operation(
        tag="API keys",
        summary="Make a key",
        answer=NewKeyOut,
        example=examples.NEW_KEY,
        body=KeyIn,
        body_example=examples.KEY_BODY,
        status=201,
        errors=(403, 422),
    )
    def post(self, _request: Request) -> Response:
        """Make a key. `key` in the answer is the whole of it, this once: only a hash is stored. A log-in that is older
        than five minutes sends its `password` with it. The owner gets a mail.
        """
        fields = self.read_body(KeyIn)
        self.demand_password(fields.pop("password", None))
        refuse_past(fields.get("expires_at"))
        key, text = api_keys.create_key(user=self.caller, **fields)
        return Response(NewKeyOut(key, context={"text": text}).data, status=201)


class Key(PasswordMixin):
    """One of the caller's keys."""

    permission_classes = (LoggedIn,)

    @operation(tag="API keys", summary="Look at a key", answer=KeyOut, example=examples.KEY)
    def get(self, _request: Request, key_id: int) -> Response:
        """One key, without its secret."""
        return Response(KeyOut(own_key(self, key_id)).data)

    @operation(
        tag="API keys",
        summary="Change a key",
        answer=KeyOut,
        example=examples.KEY,
        body=KeyChangeIn,
        body_example=examples.KEY_CHANGE_BODY,
        errors=(403, 422),
    )
    def patch(self, _request: Request, key_id: int) -> Response:
        """Give a key another name, other scopes, models, cap or end. It counts from its next request. A log-in that is
        older than five minutes sends its `password` with it.
        """
        fields = self.read_body(KeyChangeIn)
        self.demand_password(fields.pop("password", None))
        refuse_past(fields.get("expires_at"))
        return Response(KeyOut(api_keys.change_key(key=own_key(self, key_id), by=self.caller, **fields)).data)

    @operation(tag="API keys", summary="Revoke a key", status=204, errors=(403, 422))
    def delete(self, _request: Request, key_id: int) -> Response:
        """End a key at once. Revoking it again changes nothing. A log-in that is older than five minutes sends a body
        with its `password`. The owner gets a mail.
        """
        self.demand_password(self.read_body(PasswordIn).get("password"))
        api_keys.revoke_key(key=own_key(self, key_id), by=self.caller)
        return Response(status=204)


class Rotate(PasswordMixin):
    """Another text for a key."""

    permission_classes = (LoggedIn,)

    @operation(
        tag="API keys",
        summary="Rotate a key",
        answer=NewKeyOut,
        example=examples.NEW_KEY,
        body=RotateIn,
        body_example=examples.ROTATE_BODY,
        errors=(403, 422),
    )
    def post(self, _request: Request, key_id: int) -> Response:
        """Give a key another text, shown this once, while the one before goes on for a while. It stays the same key:
        its cap, what it spent and its history go on. A log-in that is older than five minutes sends its `password`.
        The owner gets a mail.
        """
        fields = self.read_body(RotateIn)
        self.demand_password(fields.get("password"))
        overlap = timedelta(seconds=fields["overlap_seconds"])
        key, text = api_keys.rotate_key(key=own_key(self, key_id), by=self.caller, overlap=overlap)
        return Response(NewKeyOut(key, context={"text": text}).data)


def own_key(view: ApiView, key_id: int) -> ApiKey:
    """The caller's key with this id. Raises Http404."""
    return get_object_or_404(ApiKey.objects.for_user(view.caller), pk=key_id)


def refuse_past(expires_at: datetime | None) -> None:
    """Raise a 422 problem if a key would expire in the past."""
    if expires_at is not None and expires_at <= timezone.now():
        raise Problem(REFUSED, _("The key would have expired already."))
