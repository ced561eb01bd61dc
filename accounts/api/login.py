"""Registering, logging in and out, passwords, and the list of log-ins."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api import examples
from accounts.api.login_serializers import (
    EmailIn,
    LoginIn,
    LogoutIn,
    NoticeOut,
    PasswordChangeIn,
    PasswordResetIn,
    RefreshIn,
    SessionOut,
    TokenIn,
    TokenOut,
    VerifiedTokenOut,
    VerifyEmailIn,
    VerifyTokenIn,
)
from accounts.callers.authentication import LoggedIn
from accounts.callers.views import ApiList, ApiView
from accounts.login import registration, second_factor, sessions
from accounts.login.guesses import count_wrong_password, demand_open_for
from accounts.models import ApiSession
from core.rest.problems import REFUSED, Kind, explain
from core.rest.schema import operation
from core.rest.throttles import RESET, SIGNUP, count_try

TAG = "Authentication"
NOT_VERIFIED = Kind(
    403,
    "email_not_verified",
    "The e-mail address is not confirmed",
    "Follow the mailed link, or ask for another: POST /api/v1/auth/verify-email/resend.",
)
CLOSES = Kind(403, "account_closes", "The account is about to be deleted", "Log in on the pages, and keep it.")
WRONG_PASSWORD = Kind(401, "wrong_credentials", "Log-in failed", "Check both, or POST /api/v1/auth/password/reset.")
PASSWORD_WANTED = Kind(403, "password_required", "The password is wanted", "Send it in `password`, or log in again.")
CODE_WANTED = Kind(
    403, "second_factor_required", "A code is wanted", "Send the app's code, or a recovery code, in `code`."
)
WRONG_CODE = Kind(401, "wrong_code", "The code is wrong", "Wait for the app's next code, or use a recovery code.")
INVALID_TOKEN = Kind(401, "invalid_token", "The token is not valid", "Log in again with POST /api/v1/auth/token.")

explain(registration.FieldsRefused, REFUSED, lambda error: {"errors": error.errors})
explain(registration.WrongPassword, WRONG_PASSWORD)
explain(second_factor.CodeWanted, CODE_WANTED)
explain(second_factor.WrongCode, WRONG_CODE)
explain(registration.NotVerified, NOT_VERIFIED)
explain(registration.AccountCloses, CLOSES)
explain(registration.PasswordWanted, PASSWORD_WANTED)
explain(sessions.InvalidToken, INVALID_TOKEN)


class OpenView(ApiView):
    """A view that anybody may call; only limits of tries protect it."""

    authentication_classes: Any = ()
    permission_classes: Any = ()

    @property
    def http(self) -> HttpRequest:
        """The request as Django and allauth know it."""
        return self.request._request  # noqa: SLF001


class Register(OpenView):
    """Signing up."""

    @operation(
        tag=TAG,
        summary="Make an account",
        answer=NoticeOut,
        example=examples.MAILED,
        body=LoginIn,
        body_example=examples.LOGIN_BODY,
        status=202,
        errors=(422,),
    )
    def post(self, _request: Request) -> Response:
        """Make an account and mail a link that confirms the address. The answer is the same when the address has an
        account already: then the mail says so.
        """
        fields = self.read_body(LoginIn)
        count_try(self.http, SIGNUP, fields["email"])
        registration.register_user(request=self.http, **fields)
        return _mailed()


class Token(OpenView):
    """Logging in."""

    @operation(
        tag=TAG,
        summary="Log in",
        answer=TokenOut,
        example=examples.TOKENS,
        body=TokenIn,
        body_example=examples.LOGIN_BODY,
        errors=(401, 403),
    )
    def post(self, _request: Request) -> Response:
        """Exchange address and password for an access token (ten minutes) and a refresh token (fourteen days, good
        once). A user who has turned two-step on sends a `code` too: without one the answer is 403 with the code
        `second_factor_required`. Wrong passwords and codes are counted by account, and passwords by address, here and
        on the pages together, and shut the door for a while that grows: 429 says for how long.
        """
        fields = self.read_body(TokenIn)
        code = fields.pop("code", None)
        demand_open_for(self.http, fields["email"])
        try:
            user = registration.check_password(request=self.http, **fields)
        except registration.WrongPassword:
            count_wrong_password(self.http, fields["email"])
            raise
        is_confirmed = second_factor.confirm_code(request=self.http, user=user, code=code)
        pair = sessions.open_session(user=user, request=self.http, is_confirmed=is_confirmed)
        return Response(TokenOut(pair).data)


class Refresh(OpenView):
    """A new pair of tokens."""

    @operation(
        tag=TAG,
        summary="Exchange a refresh token",
        answer=TokenOut,
        example=examples.TOKENS,
        body=RefreshIn,
        body_example={"refresh": examples.TOKENS["refresh"]},
        errors=(401,),
    )
    def post(self, _request: Request) -> Response:
        """Exchange the refresh token for a new pair. Each is good once. Tabs that exchange one token together, within
        ten seconds, all get the same new one. One that comes again later ends its log-in, since either holder may be a
        thief.
        """
        return Response(TokenOut(sessions.refresh_session(text=self.read_body(RefreshIn)["refresh"])).data)


class Verify(OpenView):
    """Whether a token is good."""

    @operation(
        tag=TAG,
        summary="Check an access token",
        answer=VerifiedTokenOut,
        example=examples.VERIFIED,
        body=VerifyTokenIn,
        body_example={"token": examples.TOKENS["access"]},
        errors=(401,),
    )
    def post(self, _request: Request) -> Response:
        """Tell whose an access token is, or 401 when it is forged or expired, or its log-in has ended."""
        session = sessions.find_session(self.read_body(VerifyTokenIn)["token"])
        return Response(VerifiedTokenOut(session).data)


class Logout(ApiView):
    """Logging out."""

    permission_classes = (LoggedIn,)

    @operation(tag=TAG, summary="Log out", body=LogoutIn, body_example={"everywhere": False}, status=204)
    def post(self, _request: Request) -> Response:
        """End this log-in, or with `everywhere` all log-ins through the API. Access tokens stop working at once."""
        if self.read_body(LogoutIn)["everywhere"]:
            sessions.revoke_sessions(user=self.caller)
        else:
            sessions.revoke_session(session=self.session)
        return Response(status=204)


class PasswordChange(ApiView):
    """A new password."""

    permission_classes = (LoggedIn,)

    @operation(
        tag=TAG,
        summary="Change my password",
        body=PasswordChangeIn,
        body_example={"current_password": "correct horse", "password": "battery staple 27"},
        status=204,
        errors=(422,),
    )
    def post(self, request: Request) -> Response:
        """Set a new password. This log-in goes on; every other one ends, on the pages too. API keys stay."""
        fields = self.read_body(PasswordChangeIn)
        demand_open_for(request._request, self.caller.email)  # noqa: SLF001
        try:
            registration.change_password(session=self.session, **fields)
        except registration.FieldsRefused as error:
            if "current_password" in error.errors:
                count_wrong_password(request._request, self.caller.email)  # noqa: SLF001
            raise
        return Response(status=204)


class PasswordReset(OpenView):
    """A forgotten password."""

    @operation(
        tag=TAG,
        summary="Ask for a new password",
        answer=NoticeOut,
        example=examples.MAILED,
        body=EmailIn,
        body_example={"email": "alice@example.com"},
        status=202,
    )
    def post(self, _request: Request) -> Response:
        """Mail a link to set a new password. The answer does not tell whether the address has an account."""
        email = self.read_body(EmailIn)["email"]
        count_try(self.http, RESET, email)
        registration.request_reset(request=self.http, email=email)
        return _mailed()


class PasswordResetConfirm(OpenView):
    """A new password by mail."""

    @operation(
        tag=TAG,
        summary="Set a new password with a mailed key",
        body=PasswordResetIn,
        body_example={"key": "7-cvx2p1-0f8e9d", "password": "battery staple 27"},
        status=204,
        errors=(422,),
    )
    def post(self, _request: Request) -> Response:
        """Set a new password with the key that ends the mailed link's path. It is good once; all log-ins end."""
        fields = self.read_body(PasswordResetIn)
        count_try(self.http, RESET, fields["key"].partition("-")[0])
        registration.reset_password(**fields)
        return Response(status=204)


class VerifyEmail(OpenView):
    """A confirmed address."""

    @operation(
        tag=TAG,
        summary="Confirm an e-mail address",
        body=VerifyEmailIn,
        body_example={"key": "Nw:1vLxyz:5f1e…"},
        status=204,
        errors=(422,),
    )
    def post(self, _request: Request) -> Response:
        """Confirm an address with the key that ends the mailed link's path. A mailbox that is new here gets a bonus."""
        registration.verify_email(request=self.http, key=self.read_body(VerifyEmailIn)["key"])
        return Response(status=204)


class VerifyEmailResend(OpenView):
    """The same mail again."""

    @operation(
        tag=TAG,
        summary="Mail the confirmation again",
        answer=NoticeOut,
        example=examples.MAILED,
        body=EmailIn,
        body_example={"email": "alice@example.com"},
        status=202,
    )
    def post(self, _request: Request) -> Response:
        """Mail the link again to an address that waits for it, at most once in three minutes."""
        email = self.read_body(EmailIn)["email"]
        count_try(self.http, SIGNUP, email)
        registration.resend_verification(request=self.http, email=email)
        return _mailed()


class Sessions(ApiList):
    """The caller's log-ins."""

    permission_classes = (LoggedIn,)
    serializer_class = SessionOut
    ordering = "-created_at"

    def rows(self) -> QuerySet[ApiSession]:
        """Their own that are open."""
        return ApiSession.objects.for_user(self.caller).live()

    @operation(tag="Account", summary="List my log-ins", answer=SessionOut(many=True), example=examples.SESSION)
    def get(self, request: Request) -> Response:
        """The log-ins through the API that are open, the latest first; `is_current` marks the one that asks."""
        return self.list(request)


class Session(ApiView):
    """One of the caller's log-ins."""

    permission_classes = (LoggedIn,)

    @operation(tag="Account", summary="End a log-in", status=204)
    def delete(self, _request: Request, session_id: Any) -> Response:
        """End one log-in at once, its access token too. Ending it again changes nothing."""
        session = get_object_or_404(ApiSession.objects.for_user(self.caller), pk=session_id)
        sessions.revoke_session(session=session)
        return Response(status=204)


def _mailed() -> Response:
    notice = {"detail": _("If the address fits, a mail is on its way to it.")}
    return Response(NoticeOut(notice).data, status=202)
