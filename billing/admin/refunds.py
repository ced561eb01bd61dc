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
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django_stubs_ext import StrOrPromise

from accounts.callers.requests import Request
from billing import approvals, currencies
from billing.admin.columns import credits_of, customer_link, customer_of
from billing.admin.effects import refund_lines, warning_of_approval
from billing.models import Hold, Refund, RefundState, TopUp
from billing.refunds import payouts, requests
from billing.templatetags.money import format_credits, money
from core.admin.base import ReadOnlyAdmin
from core.admin.large_lists import LargeList
from core.admin.reasons import ReasonedForm
from core.admin.steps import Preview, StepRefused, answer_in_two_steps

DECIMALS_OF_CREDITS = 6
PROVIDERS = ("stripe", "sandbox")  # that there ever were


class RefundForm(ReasonedForm):
    """The amount and the reason. The amount is in credits, or as people write the payment's currency."""

    amount = forms.DecimalField(min_value=0, max_digits=24)
    field_order = ("amount",)

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
    title: StrOrPromise

    def facts_of(self, _target: Any) -> list[tuple[str, Any]]:
        """Return what else staff should know of the object, as pairs of words."""
        return []

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
        customer = target.user if self.field == "topup" else target.wallet.user
        page = {
            "title": self.title,
            "original": customer,
            "facts": [
                (_("Customer"), customer),
                (str(self.opts.verbose_name), target.pk),
                *self.facts_of(target),
                (_("At most"), payouts.worth_of(requests.refundable_amount(**of), of.get("topup"))),
            ],
            "button": _("Refund now"),
            "back": reverse("admin:customer", args=[customer.pk]),
        }
        return answer_in_two_steps(
            request,
            model_admin=self,
            form=RefundForm(request.POST or None, initial=start, decimals=decimals),
            preview=lambda form: self._preview(request, form, of),
            act=lambda form: self._refund(request, form, of, page["back"]),
            page=page,
        )

    def _preview(self, request: HttpRequest, form: RefundForm, of: dict[str, Any]) -> Preview:
        """Return what would happen. Refuses what the service would refuse."""
        by, amount = cast(Request, request).user, form.smallest_units
        if amount > requests.refundable_amount(**of):
            raise StepRefused(_("More than can be refunded."))
        try:
            what = requests.describe_refund(by=by, amount=amount, **of)
        except approvals.OwnWallet as refused:
            raise StepRefused(refused) from refused
        topup = of.get("topup")
        customer = of[self.field].user if topup else of[self.field].wallet.user
        waits = requests.needs_second_person(by=by, customer=customer, amount=amount, topup=topup)
        button = _("Ask for approval: {worth}") if waits else _("Refund {worth}")
        return Preview(
            f"{what} {_('The customer is told the reason.')}",
            lines=refund_lines(amount, **of),
            warning=warning_of_approval() if waits else "",
            button=button.format(worth=payouts.worth_of(amount, topup)),
        )

    def _refund(self, request: HttpRequest, form: RefundForm, of: dict[str, Any], back: str) -> HttpResponse:
        try:
            refund = requests.request_refund(
                by=cast(Request, request).user,
                amount=form.smallest_units,
                reason=form.cleaned_data["reason"],
                note=form.cleaned_data["note"],
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
        return redirect(back)


@admin.register(Hold)
class HoldAdmin(LargeList, RefundableAdmin):
    """All holds; a settled one can be refunded."""

    field, permissions = "hold", (requests.PERMISSION, "billing.request_refund")
    title = gettext_lazy("Refund an answer")
    list_display = ("created_at", "customer", "model_key", "held", "charged", "state")
    list_filter = ("state", "created_at")
    people, found_by = "wallet", ("id", "reference")
    ordering = ("-created_at", "-id")
    customer = customer_of("wallet__user")
    held = credits_of("amount_microcredits", gettext_lazy("held"))
    charged = credits_of("charged_microcredits", gettext_lazy("charged"))
    linked_lookups = ("wallet__exact",)
    list_select_related = ("wallet__user",)

    def facts_of(self, target: Hold) -> list[tuple[str, Any]]:
        """When it was, of which model, and what it cost."""
        return [
            (_("When"), date_format(target.created_at, "Y-m-d H:i:s")),
            (_("Model"), target.model_key),
            (_("It cost"), payouts.worth_of(target.charged_microcredits or 0, None)),
        ]


@admin.register(TopUp)
class TopUpAdmin(LargeList, RefundableAdmin):
    """Orders and their payments; a paid one can be refunded."""

    field, permissions = "topup", (requests.PERMISSION,)
    title = gettext_lazy("Refund a payment")
    formfield_overrides = {models.URLField: {"assume_scheme": "https"}}  # the default as of Django 6
    list_display = ("created_at", "customer", "paid", "refunded", "state", "provider", "payment_reference")
    list_filter = ("state", "created_at")
    people, found_by = "user", ("id",)
    ordering = ("-created_at", "-id")

    def named_by(self, text: str) -> Q:
        """By the provider's references too, which are unique for each provider."""
        found = super().named_by(text)
        for name in ("checkout_reference", "payment_reference"):
            found |= Q(provider__in=PROVIDERS, **{name: text}) & ~Q(**{name: ""})
        return found

    linked_lookups = ("user__exact",)
    list_select_related = ("user",)
    customer = customer_of("user")

    @admin.display(description=gettext_lazy("amount"))
    def paid(self, row: TopUp) -> str:
        """What the customer pays."""
        return money(row.amount_minor, row.currency)

    @admin.display(description=gettext_lazy("refunded"))
    def refunded(self, row: TopUp) -> str:
        """What went back of it."""
        return money(row.refunded_minor, row.currency) if row.refunded_minor else ""

    def facts_of(self, target: TopUp) -> list[tuple[str, Any]]:
        """The payment, and what it bought."""
        bought = _("{credits} credits and a bonus of {bonus}").format(
            credits=format_credits(target.credits_microcredits), bonus=format_credits(target.bonus_microcredits)
        )
        return [
            (_("Payment"), target.payment_reference or _("none yet")),
            (_("Paid"), money(target.amount_minor, target.currency)),
            (_("It bought"), bought),
        ]

    def decimals_of(self, target: TopUp) -> int:
        """Return the number of decimals of the order's currency."""
        return currencies.decimals_of(target.currency)


@admin.register(Refund)
class RefundAdmin(LargeList, ReadOnlyAdmin):
    """Refunds, and the decision on those that wait for a second person."""

    list_display = ("requested_at", "customer", "worth", "state", "reason", "requested_by", "decided_by", "error")
    list_filter = ("state", "requested_at")
    people, found_by = "requested_by", ("id", "hold", "topup")
    ordering = ("-requested_at", "-id")
    list_select_related = ("hold__wallet__user", "topup__user", "requested_by", "decided_by")
    actions = ("approve", "reject", "try_again")

    @admin.display(description=gettext_lazy("customer"))
    def customer(self, row: Refund) -> str:
        """Whose answer or payment it is."""
        return customer_link(payouts.customer_of(row))

    @admin.display(description=gettext_lazy("amount"))
    def worth(self, row: Refund) -> str:
        """Credits of an answer, money of a payment."""
        return payouts.worth_of(row.amount, row.topup)

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
