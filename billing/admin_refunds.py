"""Refunds in the admin: a form on an answer's hold and on a payment, and the list where a second person decides."""

from decimal import Decimal
from typing import Any, cast
from uuid import uuid4

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.validators import DecimalValidator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.admin_base import ReadOnlyAdmin
from accounts.http import Request
from billing import refunds
from billing.models import Hold, Refund, RefundState, TopUp

PERMISSION = "billing.make_refund"


class RefundForm(forms.Form):
    """How much, why, and the key that makes a double click harmless. `confirmed` comes with the second step."""

    amount = forms.DecimalField(min_value=0, max_digits=24)
    reason = forms.CharField(max_length=200, widget=forms.TextInput(attrs={"size": 60}))
    idempotency_key = forms.UUIDField(widget=forms.HiddenInput)
    confirmed = forms.BooleanField(required=False, widget=forms.HiddenInput)


def amount_of(form: RefundForm, unit: int) -> int:
    """The amount in smallest units; the form has refused anything finer."""
    return int(form.cleaned_data["amount"] * unit)


class RefundableAdmin(ReadOnlyAdmin):
    """Adds `<id>/refund/`: first what would happen, in credits or money, then the refund itself.

    `field` is what `refunds.request_refund` calls the object, `unit` how many smallest units the form's unit has.
    """

    field: str
    unit: int

    def get_urls(self) -> list[URLPattern]:
        """The refund page, before the admin's own pages."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_refund"
        view = self.admin_site.admin_view(self.refund_view)
        return [path("<path:object_id>/refund/", view, name=name), *super().get_urls()]

    def refund_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the form, then the preview, then refund."""
        target = self.get_object(request, object_id)
        if target is None or not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        most = refunds.refundable_amount(**{self.field: target})
        start = {"amount": Decimal(most) / self.unit, "idempotency_key": uuid4()}
        form = RefundForm(request.POST or None, initial=start)
        form.fields["amount"].widget.attrs["step"] = str(1 / Decimal(self.unit))
        cast(forms.DecimalField, form.fields["amount"]).validators.append(
            DecimalValidator(max_digits=24, decimal_places=len(str(self.unit)) - 1)
        )
        preview = ""
        if request.method == "POST" and form.is_valid():
            if form.cleaned_data["confirmed"]:
                answer = self._refund(request, target, form)
                if answer is not None:
                    return answer
            elif amount_of(form, self.unit) > most:
                form.add_error("amount", _("More than can be refunded."))
            else:
                preview = refunds.describe_refund(amount=amount_of(form, self.unit), **{self.field: target})
        context = self.admin_site.each_context(request) | {
            "title": _("Refund"),
            "opts": self.opts,
            "original": target,
            "form": form,
            "most": start["amount"],
            "preview": preview,
            "back": reverse(f"admin:billing_{self.opts.model_name}_change", args=[target.pk]),
        }
        return TemplateResponse(request, "admin/billing/refund.html", context)

    def _refund(self, request: HttpRequest, target: Model, form: RefundForm) -> HttpResponse | None:
        """Make the refund; None when it was refused, with the message on the form."""
        try:
            refund = refunds.request_refund(
                by=cast(Request, request).user,
                amount=amount_of(form, self.unit),
                reason=form.cleaned_data["reason"],
                idempotency_key=str(form.cleaned_data["idempotency_key"]),
                **cast(dict[str, Any], {self.field: target}),
            )
        except refunds.RefundRefused as error:
            form.add_error(None, str(error))
            return None
        messages.success(request, _("Refund: {state}.").format(state=refund.get_state_display()))
        return redirect("admin:billing_refund_changelist")


@admin.register(Hold)
class HoldAdmin(RefundableAdmin):
    """What is and was set aside; a settled one can be refunded."""

    field, unit = "hold", 1_000_000
    list_display = ("id", "created_at", "wallet", "state", "amount_microcredits", "charged_microcredits")
    list_filter = ("state", "model_key", "created_at")
    search_fields = ("id", "wallet__user__email", "reference")
    list_select_related = ("wallet",)


@admin.register(TopUp)
class TopUpAdmin(RefundableAdmin):
    """Orders and their payments; a paid one can be refunded."""

    field, unit = "topup", 100
    list_display = ("id", "created_at", "user", "provider", "state", "amount_minor", "currency", "refunded_minor")
    list_filter = ("state", "provider", "currency", "created_at")
    search_fields = ("id", "user__email", "checkout_reference", "payment_reference")
    list_select_related = ("user",)


@admin.register(Refund)
class RefundAdmin(ReadOnlyAdmin):
    """Refunds, and the decision on those that wait for a second person."""

    list_display = ("id", "requested_at", "state", "amount", "reason", "requested_by", "decided_by", "error")
    list_filter = ("state", "requested_at")
    search_fields = ("id", "reason", "hold__id", "topup__id", "requested_by__email")
    list_select_related = ("requested_by", "decided_by")
    actions = ("approve", "reject")

    def has_make_refund_permission(self, request: HttpRequest) -> bool:
        """Who may decide."""
        return request.user.has_perm(PERMISSION)

    @admin.action(permissions=["make_refund"], description=gettext_lazy("Approve and carry out"))
    def approve(self, request: HttpRequest, chosen: QuerySet[Refund]) -> None:
        """Approve what waits."""
        self._decide(request, chosen, is_approved=True)

    @admin.action(permissions=["make_refund"], description=gettext_lazy("Reject"))
    def reject(self, request: HttpRequest, chosen: QuerySet[Refund]) -> None:
        """Reject what waits."""
        self._decide(request, chosen, is_approved=False)

    def _decide(self, request: HttpRequest, chosen: QuerySet[Refund], *, is_approved: bool) -> None:
        for refund in chosen:
            try:
                decided = refunds.decide_refund(refund=refund, by=cast(Request, request).user, is_approved=is_approved)
            except refunds.RefundRefused as error:
                messages.error(request, f"{refund.pk}: {error}")
            else:
                level = messages.WARNING if decided.state == RefundState.APPROVED else messages.SUCCESS
                text = decided.error or decided.get_state_display()
                messages.add_message(request, level, f"{refund.pk}: {text}")
