"""Refunds in the admin: a form on an answer's hold and on a payment, and the list where a second person decides."""

from decimal import Decimal
from http import HTTPStatus
from typing import Any, cast
from uuid import uuid4

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.validators import DecimalValidator
from django.db import models
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.callers.requests import Request
from billing import approvals, currencies
from billing.models import Hold, Refund, RefundState, TopUp
from billing.refunds import payouts, requests
from core.admin.base import ReadOnlyAdmin
from core.admin.large_lists import LargeList
from core.admin.steps import StepRefused, TwoStepForm, answer_in_two_steps

DECIMALS_OF_CREDITS = 6
PROVIDERS = ("stripe", "sandbox")  # that there ever were


class RefundForm(TwoStepForm):
    """The amount and the reason. The amount is in credits, or as people write the payment's currency."""

    amount = forms.DecimalField(min_value=0, max_digits=24)
    reason = forms.CharField(max_length=200, widget=forms.TextInput(attrs={"size": 60}))

    def __init__(self, *args: Any, decimals: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.decimals = decimals
        amount = cast(forms.DecimalField, self.fields["amount"])
        amount.widget.attrs["step"] = f"{Decimal(1).scaleb(-decimals):f}"
        amount.validators.append(DecimalValidator(max_digits=24, decimal_places=decimals))

    @property
    def smallest_units(self) -> int:
        """The amount in microcredits or smallest units; the form has refused anything finer."""
        return int(self.cleaned_data["amount"].scaleb(self.decimals))


class RefundableAdmin(ReadOnlyAdmin):
    """Adds the page `<id>/refund/`: it first shows what would happen, in credits or money, then makes the refund.

    `field` is the argument of `requests.request_refund` for the object. A user needs one of `permissions`.
    """

    field: str
    permissions: tuple[str, ...]

    def decimals_of(self, _target: Any) -> int:
        """Return the number of decimals that an amount is written with: those of credits."""
        return DECIMALS_OF_CREDITS

    def get_urls(self) -> list[URLPattern]:
        """The refund page, before the admin's own pages."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_refund"
        view = self.admin_site.admin_view(self.refund_view)
        return [path("<path:object_id>/refund/", view, name=name), *super().get_urls()]

    def refund_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the form, then the preview, then refund."""
        if not any(request.user.has_perm(permission) for permission in self.permissions):
            raise PermissionDenied
        target = self.get_object(request, object_id)
        if target is None:
            raise Http404
        of: dict[str, Any] = {self.field: target}
        decimals = self.decimals_of(target)
        most = Decimal(requests.refundable_amount(**of)).scaleb(-decimals)
        start = {"amount": most, "idempotency_key": uuid4()}
        page = {
            "title": _("Refund"),
            "original": target,
            "intro": _("At most {most} can be refunded for {target}.").format(most=most, target=target),
            "button": _("Refund now"),
            "back": reverse(f"admin:billing_{self.opts.model_name}_change", args=[target.pk]),
        }
        return answer_in_two_steps(
            request,
            model_admin=self,
            form=RefundForm(request.POST or None, initial=start, decimals=decimals),
            preview=lambda form: self._preview(request, form, of),
            act=lambda form: self._refund(request, form, of),
            page=page,
        )

    def _preview(self, request: HttpRequest, form: RefundForm, of: dict[str, Any]) -> str:
        """Return what would happen. Refuses what the service would refuse."""
        if form.smallest_units > requests.refundable_amount(**of):
            raise StepRefused(_("More than can be refunded."))
        try:
            what = requests.describe_refund(by=cast(Request, request).user, amount=form.smallest_units, **of)
        except approvals.OwnWallet as refused:
            raise StepRefused(refused) from refused
        why = _("Reason: {reason}. The customer is told, and the audit log keeps it.")
        return f"{what} {why.format(reason=form.cleaned_data['reason'])}"

    def _refund(self, request: HttpRequest, form: RefundForm, of: dict[str, Any]) -> HttpResponse:
        try:
            refund = requests.request_refund(
                by=cast(Request, request).user,
                amount=form.smallest_units,
                reason=form.cleaned_data["reason"],
                idempotency_key=str(form.cleaned_data["idempotency_key"]),
                **of,
            )
        except requests.RefundConflict as conflict:
            raise StepRefused(conflict, status=HTTPStatus.CONFLICT) from conflict
        except (requests.RefundRefused, approvals.OwnWallet) as refused:
            raise StepRefused(refused) from refused
        level = messages.WARNING if refund.error else messages.SUCCESS
        text = _("Refund: {state}.").format(state=refund.get_state_display())
        messages.add_message(request, level, f"{text} {refund.error}".strip())
        return redirect("admin:billing_refund_changelist")


@admin.register(Hold)
class HoldAdmin(LargeList, RefundableAdmin):
    """All holds; a settled one can be refunded."""

    field, permissions = "hold", (requests.PERMISSION, "billing.request_refund")
    list_display = ("id", "created_at", "wallet", "state", "amount_microcredits", "charged_microcredits")
    list_filter = ("state", "created_at")
    people, found_by = "wallet", ("id", "reference")
    ordering = ("-created_at", "-id")
    list_select_related = ("wallet",)


@admin.register(TopUp)
class TopUpAdmin(LargeList, RefundableAdmin):
    """Orders and their payments; a paid one can be refunded."""

    field, permissions = "topup", (requests.PERMISSION,)
    formfield_overrides = {models.URLField: {"assume_scheme": "https"}}  # the default as of Django 6
    list_display = ("id", "created_at", "user", "provider", "state", "amount_minor", "currency", "refunded_minor")
    list_filter = ("state", "created_at")
    people, found_by = "user", ("id",)
    ordering = ("-created_at", "-id")
    list_select_related = ("user",)

    def named_by(self, text: str) -> Q:
        """By the provider's references too, which are unique for each provider."""
        found = super().named_by(text)
        for name in ("checkout_reference", "payment_reference"):
            found |= Q(provider__in=PROVIDERS, **{name: text}) & ~Q(**{name: ""})
        return found

    def decimals_of(self, target: TopUp) -> int:
        """Return the number of decimals of the order's currency."""
        return currencies.decimals_of(target.currency)


@admin.register(Refund)
class RefundAdmin(LargeList, ReadOnlyAdmin):
    """Refunds, and the decision on those that wait for a second person."""

    list_display = (
        "id",
        "requested_at",
        "state",
        "amount",
        "reason",
        "requested_by",
        "decided_by",
        "error",
        "next_try_at",
    )
    list_filter = ("state", "requested_at")
    people, found_by = "requested_by", ("id", "hold", "topup")
    ordering = ("-requested_at", "-id")
    list_select_related = ("requested_by", "decided_by")
    actions = ("approve", "reject", "try_again")

    def has_make_refund_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(requests.PERMISSION)

    @admin.action(permissions=["make_refund"], description=gettext_lazy("Approve and carry out"))
    def approve(self, request: HttpRequest, chosen: QuerySet[Refund]) -> None:
        self._decide(request, chosen, is_approved=True)

    @admin.action(permissions=["make_refund"], description=gettext_lazy("Reject"))
    def reject(self, request: HttpRequest, chosen: QuerySet[Refund]) -> None:
        self._decide(request, chosen, is_approved=False)

    @admin.action(permissions=["make_refund"], description=gettext_lazy("Try again now"))
    def try_again(self, request: HttpRequest, chosen: QuerySet[Refund]) -> None:
        """Send approved refunds whose provider could not be reached, without waiting for their next try."""
        for refund in chosen.filter(state=RefundState.APPROVED):
            self._say(request, payouts.carry_out(refund_id=refund.pk))

    def _decide(self, request: HttpRequest, chosen: QuerySet[Refund], *, is_approved: bool) -> None:
        for refund in chosen:
            try:
                decided = requests.decide_refund(refund=refund, by=cast(Request, request).user, is_approved=is_approved)
            except (requests.RefundRefused, approvals.OwnWallet) as error:
                messages.error(request, f"{refund}: {error}")
            else:
                self._say(request, decided)

    def _say(self, request: HttpRequest, refund: Refund) -> None:
        """Show the state of the refund, and its error if it has one."""
        is_good = refund.state in {RefundState.DONE, RefundState.REJECTED}
        text = " · ".join(filter(None, [refund.get_state_display(), refund.error]))
        messages.add_message(request, messages.SUCCESS if is_good else messages.WARNING, f"{refund}: {text}")
