"""Wallets in the admin: balances to read, and credits to adjust by hand, with a reason, in two steps.

An adjustment that a second person must approve waits in the list of adjustments.
"""

from decimal import Decimal
from functools import partial
from http import HTTPStatus
from typing import cast
from uuid import uuid4

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django_stubs_ext import StrOrPromise

from accounts.callers.requests import Request
from billing import adjustments, approvals, ledger
from billing.admin.columns import credits_of, customer_of
from billing.admin.effects import adjustment_lines, warning_of_approval
from billing.models import MICROCREDITS_PER_CREDIT, Adjustment, Wallet
from billing.templatetags.money import format_credits, signed_credits
from core.admin.base import ReadOnlyAdmin
from core.admin.large_lists import LargeList
from core.admin.reasons import ReasonedForm
from core.admin.steps import Preview, StepRefused, answer_in_two_steps

MOST_CREDITS = 10_000_000
USUAL_DAYS = 365  # after which credits expire that staff give


class AdjustmentForm(ReasonedForm):
    """How many credits, up or down, and why."""

    credits = forms.DecimalField(
        label=gettext_lazy("Credits"),
        min_value=-MOST_CREDITS,
        max_value=MOST_CREDITS,
        decimal_places=6,
        help_text=gettext_lazy("With a minus they are taken."),
    )
    field_order: tuple[str, ...] = ("credits",)

    def clean_credits(self) -> Decimal:
        """Refuse zero."""
        amount: Decimal = self.cleaned_data["credits"]
        if not amount:
            raise forms.ValidationError(_("Enter an amount that is not zero."))
        return amount

    @property
    def microcredits(self) -> int:
        """The amount in microcredits; the form has refused anything finer."""
        return int(self.cleaned_data["credits"] * MICROCREDITS_PER_CREDIT)


class GrantForm(AdjustmentForm):
    """How many credits are given, for how long, and why."""

    credits = forms.DecimalField(label=gettext_lazy("Credits"), min_value=0, max_value=MOST_CREDITS, decimal_places=6)
    expires_after_days = forms.IntegerField(
        label=gettext_lazy("Days until they expire"),
        required=False,
        min_value=1,
        max_value=3650,
        help_text=gettext_lazy("They never expire if it is left out."),
    )
    field_order = ("credits", "expires_after_days")


@admin.register(Wallet)
class WalletAdmin(LargeList, ReadOnlyAdmin):
    """Balances, and the pages `<id>/adjust/` and `<id>/grant/`."""

    list_display = ("id", "customer", "balance", "held", "created_at")
    people, found_by = "user", ("id",)
    customer = customer_of("user")
    balance = credits_of("balance_microcredits", gettext_lazy("balance"))
    held = credits_of("held_microcredits", gettext_lazy("held"))
    list_select_related = ("user",)

    def get_urls(self) -> list[URLPattern]:
        """The pages of the actions, before the admin's own pages."""
        pages = {
            "adjust": (gettext_lazy("Adjust credits"), AdjustmentForm),
            "grant": (gettext_lazy("Grant credits"), GrantForm),
        }
        own = [
            path(
                f"<path:object_id>/{name}/",
                self.admin_site.admin_view(partial(self.move_view, title=title, form_class=form_class)),
                name=f"billing_wallet_{name}",
            )
            for name, (title, form_class) in pages.items()
        ]
        return [*own, *super().get_urls()]

    def move_view(
        self, request: HttpRequest, object_id: str, *, title: StrOrPromise, form_class: type[AdjustmentForm]
    ) -> HttpResponse:
        """Show the form, then what the balance will be, then move the credits."""
        if not request.user.has_perm("billing.adjust_wallet"):
            raise PermissionDenied
        wallet = self.get_object(request, object_id)
        if wallet is None:
            raise Http404
        balance = format_credits(wallet.balance_microcredits)
        start = {"idempotency_key": uuid4(), "expires_after_days": USUAL_DAYS}
        return answer_in_two_steps(
            request,
            model_admin=self,
            form=form_class(request.POST or None, initial=start),
            preview=lambda form: _preview(request, wallet, form),
            act=lambda form: _adjust(request, wallet, form),
            page={
                "title": title,
                "original": wallet.user,
                "intro": _("{customer} has {balance} credits.").format(customer=wallet.user, balance=balance),
                "button": title,
                "back": reverse("admin:customer", args=[wallet.user_id]),
            },
        )


def _preview(request: HttpRequest, wallet: Wallet, form: AdjustmentForm) -> Preview:
    """Return what the balance would be after debts are paid. Refuses what the service would refuse."""
    by, microcredits = cast(Request, request).user, form.microcredits
    try:
        approvals.refuse_own_wallet(by=by, customer=wallet.user)
    except approvals.OwnWallet as refused:
        raise StepRefused(refused) from refused
    if -microcredits > wallet.available_microcredits:
        raise StepRefused(_too_much(wallet.available_microcredits))
    pays = max(0, min(microcredits, ledger.owed_microcredits(wallet=wallet)))
    text = _("The balance of {customer} goes from {before} to {after} credits.").format(
        customer=wallet.user,
        before=format_credits(wallet.balance_microcredits),
        after=format_credits(wallet.balance_microcredits + microcredits - pays),
    )
    if pays:
        text += " " + _("{pays} credits pay what is owed.").format(pays=format_credits(pays))
    waits = approvals.needs_second_person(by=by, customer=wallet.user, worth_microcredits=abs(microcredits))
    button = _("Ask for approval: {worth}") if waits else _("Do it: {worth}")
    return Preview(
        f"{text} {_('The reason stands in the history of the customer.')}",
        lines=adjustment_lines(wallet, microcredits),
        warning=warning_of_approval() if waits else "",
        button=button.format(worth=_("{credits} credits").format(credits=signed_credits(microcredits))),
    )


def _adjust(request: HttpRequest, wallet: Wallet, form: AdjustmentForm) -> HttpResponse:
    try:
        adjustment = adjustments.adjust_credits(
            user=wallet.user,
            amount_microcredits=form.microcredits,
            idempotency_key=f"adjust:{form.cleaned_data['idempotency_key']}",
            reason=form.cleaned_data["reason"],
            note=form.cleaned_data["note"],
            expires_after_days=form.cleaned_data.get("expires_after_days"),
            by=cast(Request, request).user,
        )
    except approvals.OwnWallet as refused:
        raise StepRefused(refused) from refused
    except ledger.InsufficientCredits as error:
        raise StepRefused(_too_much(error.available_microcredits)) from error
    except ledger.IdempotencyConflict as error:
        text = _("This form was already sent with another amount or reason. Reload the page.")
        raise StepRefused(text, status=HTTPStatus.CONFLICT) from error
    if adjustment.entry is None:
        messages.warning(request, _("Nothing was moved yet: a second person must approve it."))
    else:
        after = format_credits(adjustment.entry.balance_after_microcredits)
        messages.success(request, _("Done: the balance was {after} credits after it.").format(after=after))
    return redirect("admin:customer", wallet.user_id)


def _too_much(available_microcredits: int) -> str:
    return _("At most {most} credits can be taken: the rest is held or not there.").format(
        most=format_credits(available_microcredits)
    )


@admin.register(Adjustment)
class AdjustmentAdmin(LargeList, ReadOnlyAdmin):
    """Adjustments, and the decision on those that wait for a second person."""

    list_display = ("requested_at", "customer", "credits", "state", "reason", "requested_by", "decided_by")
    list_filter = ("state", "requested_at")
    ordering = ("-requested_at", "-id")
    people, found_by = "wallet", ("id",)
    customer = customer_of("wallet__user")
    credits = credits_of("amount_microcredits", gettext_lazy("credits"), is_signed=True)
    list_select_related = ("wallet__user", "requested_by", "decided_by")
    actions = ("approve", "reject")

    def has_adjust_wallet_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("billing.adjust_wallet")

    @admin.action(permissions=["adjust_wallet"], description=gettext_lazy("Approve and carry out"))
    def approve(self, request: HttpRequest, chosen: QuerySet[Adjustment]) -> None:
        self._decide(request, chosen, is_approved=True)

    @admin.action(permissions=["adjust_wallet"], description=gettext_lazy("Reject"))
    def reject(self, request: HttpRequest, chosen: QuerySet[Adjustment]) -> None:
        self._decide(request, chosen, is_approved=False)

    def _decide(self, request: HttpRequest, chosen: QuerySet[Adjustment], *, is_approved: bool) -> None:
        by = cast(Request, request).user
        for row in chosen:
            try:
                decided = adjustments.decide_adjustment(adjustment=row, by=by, is_approved=is_approved)
            except (adjustments.AdjustmentRefused, approvals.OwnWallet) as refused:
                messages.error(request, f"{row}: {refused}")
            except ledger.InsufficientCredits as error:
                messages.error(request, f"{row}: {_too_much(error.available_microcredits)}")
            else:
                messages.success(request, f"{row}: {decided.get_state_display()}")
