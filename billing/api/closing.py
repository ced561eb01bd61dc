"""The API for closing one's account. It is part of billing, because it gives up the remaining credits."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.callers.authentication import LoggedIn
from accounts.callers.views import ApiView
from accounts.login.registration import confirm_password
from accounts.login.second_factor import confirm_code
from billing.closing import close_account, plan_closing
from core.rest.fields import ApiInput, Credits, Microcredits, Secret
from core.rest.schema import operation

KEPT = (
    "Ledger, payments and the audit log are kept as bookkeeping, under a number, without name or address. "
    "So that a mailbox gets one sign-up bonus, a keyed hash of it is kept, which leads to no account."
)
ERASED = "Name, address, password, conversations, answers, keys and log-ins are erased or ended. It cannot be undone."
CREDITS = "Credits that are left are given up. For a refund of a payment, ask support before you close the account."
EXAMPLE = {
    "forfeits_microcredits": 9_400_320,
    "forfeits_credits": "9.400320",
    "obstacles": [],
    "credits": CREDITS,
    "erased": ERASED,
    "kept": KEPT,
}


class ClosingOut(serializers.Serializer[Any]):
    """What closing the account would do."""

    forfeits_microcredits = serializers.IntegerField(help_text="What you would give up.")
    forfeits_credits = Credits("forfeits_microcredits")
    obstacles = serializers.ListField(child=serializers.CharField(), help_text="What stands in its way; maybe nothing.")
    credits = serializers.CharField(default=CREDITS)
    erased = serializers.CharField(default=ERASED)
    kept = serializers.CharField(default=KEPT)


class ClosingIn(ApiInput):
    """The password again, and the agreement to what is given up."""

    password = Secret()
    code = Secret(required=False, help_text="Of the authenticator app, or a recovery code, if two-step is on.")
    forfeits_microcredits = Microcredits(min_value=0, help_text="As GET says; another figure is a 409.")


class Closing(ApiView):
    """Closing the caller's account."""

    permission_classes = (LoggedIn,)

    @operation(tag="Account", summary="What closing my account would do", answer=ClosingOut, example=EXAMPLE)
    def get(self, _request: Request) -> Response:
        """The credits that would be given up, what would be erased and what kept."""
        plan = plan_closing(user=self.caller)
        return Response(
            ClosingOut(
                {
                    "forfeits_microcredits": plan.forfeits_microcredits,
                    "obstacles": plan.obstacles,
                    "credits": CREDITS,
                    "erased": ERASED,
                    "kept": KEPT,
                }
            ).data
        )

    @operation(
        tag="Account",
        summary="Close my account",
        body=ClosingIn,
        body_example={"password": "correct horse battery staple", "forfeits_microcredits": 9_400_320},
        status=204,
        errors=(401, 403, 409, 422, 503),
    )
    def post(self, request: Request) -> Response:
        """Give up what is left and erase the person, at once. Agree to the exact credits that are given up."""
        fields = self.read_body(ClosingIn)
        confirm_password(request=request._request, user=self.caller, password=fields["password"])  # noqa: SLF001
        confirm_code(request=request._request, user=self.caller, code=fields.get("code"))  # noqa: SLF001
        close_account(user=self.caller, forfeits_microcredits=fields["forfeits_microcredits"])
        return Response(status=204)
