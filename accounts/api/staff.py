"""The API of staff for users, suspensions and the audit log. It checks the same Django permissions as the admin."""

from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.staff_serializers import AuditFilter, AuditOut, ReasonIn, UserFilter, UserOut
from accounts.callers.authentication import requires_permission
from accounts.callers.views import ApiList, ApiView
from accounts.models import AuditEvent, User
from accounts.staff import suspension
from core.rest.problems import REFUSED, explain
from core.rest.schema import operation

TAG = "Staff: users"
USER = {
    "id": 7,
    "email": "alice@example.com",
    "first_name": "Alice",
    "last_name": "",
    "is_active": True,
    "is_staff": False,
    "is_closed": False,
    "date_joined": "2026-11-01T09:30:00.000000Z",
    "last_login": "2026-11-22T14:09:00.000000Z",
}
SUSPENDED = USER | {"is_active": False}
AUDIT = {
    "id": 91,
    "action": "user suspended",
    "actor_id": 2,
    "actor_email": "support@example.com",
    "subject_id": 7,
    "details": {"reason": "stolen card"},
    "created_at": "2026-11-22T14:09:00.000000Z",
}
REASON = {"reason": "stolen card"}

explain(suspension.SuspensionRefused, REFUSED)


class Users(ApiList):
    """All users."""

    permission_classes = (requires_permission("accounts.view_user"),)
    serializer_class = UserOut
    filterset_class = UserFilter

    def rows(self) -> QuerySet[User]:
        return User.objects.all()

    @operation(tag=TAG, summary="Find users", answer=UserOut(many=True), example=USER)
    def get(self, request: Request) -> Response:
        """Users by part of their address or name, the latest first."""
        return self.list(request)


class UserView(ApiView):
    """One user."""

    permission_classes = (requires_permission("accounts.view_user"),)

    @operation(tag=TAG, summary="Look at a user", answer=UserOut, example=USER)
    def get(self, _request: Request, user_id: int) -> Response:
        """One user; their credits are under `/wallet`."""
        return Response(UserOut(get_object_or_404(User, pk=user_id)).data)


class Suspending(ApiView):
    """An action on one user, with a reason."""

    permission_classes: Any = (requires_permission("accounts.suspend_user"),)

    def act(self, service: Any, user_id: int) -> Response:
        """Call a service of `suspension`, and return the user."""
        user = get_object_or_404(User, pk=user_id)
        done = service(user=user, by=self.caller, reason=self.read_body(ReasonIn)["reason"])
        return Response(UserOut(done).data)


class Suspend(Suspending):
    """Out."""

    @operation(
        tag=TAG,
        summary="Suspend a user",
        answer=UserOut,
        example=SUSPENDED,
        body=ReasonIn,
        body_example=REASON,
        errors=(422,),
    )
    def post(self, _request: Request, user_id: int) -> Response:
        """Shut a user out of pages and API at once. Staff are suspended by superusers alone, nobody by themselves."""
        return self.act(suspension.suspend_user, user_id)


class Restore(Suspending):
    """In."""

    @operation(
        tag=TAG,
        summary="Restore a user",
        answer=UserOut,
        example=USER,
        body=ReasonIn,
        body_example=REASON,
        errors=(422,),
    )
    def post(self, _request: Request, user_id: int) -> Response:
        """Let a suspended user in again. An account that its owner closed stays closed."""
        return self.act(suspension.restore_user, user_id)


class EndLogins(Suspending):
    """Logged out."""

    @operation(
        tag=TAG,
        summary="End a user's log-ins",
        answer=UserOut,
        example=USER,
        body=ReasonIn,
        body_example=REASON,
        errors=(422,),
    )
    def post(self, _request: Request, user_id: int) -> Response:
        """End every log-in, on the pages and through the API. API keys stay."""
        return self.act(suspension.end_logins, user_id)


class Audit(ApiList):
    """The audit log."""

    permission_classes = (requires_permission("accounts.view_auditevent"),)
    serializer_class = AuditOut
    filterset_class = AuditFilter

    def rows(self) -> QuerySet[AuditEvent]:
        return AuditEvent.objects.select_related("actor")

    @operation(tag=TAG, summary="Read the audit log", answer=AuditOut(many=True), example=AUDIT)
    def get(self, request: Request) -> Response:
        """What people did to money and accounts, the latest first. Nobody can change it."""
        return self.list(request)
