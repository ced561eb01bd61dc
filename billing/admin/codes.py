"""Promotion codes in the admin: one by one, or a stock of single-use codes that is generated and downloaded."""

import csv
from collections.abc import Iterable
from decimal import Decimal
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import urlencode
from uuid import uuid4

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django_stubs_ext import StrOrPromise

from accounts.callers.requests import Request
from accounts.models import User
from billing import approvals
from billing.models import MICROCREDITS_PER_CREDIT, PromotionCode
from billing.templatetags.money import format_credits
from billing.topups import promotions
from core.admin.base import ServiceAdmin
from core.admin.large_lists import LargeList, filter_of_values
from core.admin.steps import Preview, StepRefused, TwoStepForm, answer_in_two_steps
from core.spreadsheets import harmless

MOST_CREDITS_A_CODE = 1_000_000
WAITS = gettext_lazy("A second person must approve it before it can be redeemed.")
CHANGEABLE = ("ends_at", "is_active")
COLUMNS = ("code", "batch", "credits", "starts_at", "ends_at", "redemptions")


def _moment(label: StrOrPromise) -> forms.DateTimeField:
    return forms.DateTimeField(
        label=label, required=False, widget=forms.DateTimeInput(attrs={"type": "datetime-local"}), help_text="UTC"
    )


class StockForm(TwoStepForm):
    """What each code of the stock is worth, how many there are, and when and for whom they hold."""

    batch = forms.CharField(label=gettext_lazy("Name of the stock"), max_length=60)
    credits = forms.DecimalField(
        label=gettext_lazy("Credits a code"), min_value=0, max_value=MOST_CREDITS_A_CODE, decimal_places=6
    )
    count = forms.IntegerField(label=gettext_lazy("How many codes"), min_value=1, max_value=promotions.MOST_GENERATED)
    starts_at = _moment(gettext_lazy("Valid from"))
    ends_at = _moment(gettext_lazy("Valid until"))
    expires_after_days = forms.IntegerField(
        label=gettext_lazy("Days until the credits expire"), required=False, min_value=1, max_value=3650
    )
    is_for_new_users = forms.BooleanField(label=gettext_lazy("For new customers only"), required=False)

    def clean(self) -> dict[str, Any]:
        """Refuse a stock that nobody could redeem."""
        fields = super().clean() or {}
        if "credits" in fields and not fields["credits"]:
            self.add_error("credits", _("A code is worth something."))
        starts_at, ends_at = fields.get("starts_at") or timezone.now(), fields.get("ends_at")
        if ends_at is not None and ends_at <= starts_at:
            self.add_error("ends_at", _("It ends before it begins."))
        return fields

    @property
    def terms(self) -> promotions.CodeTerms:
        fields = self.cleaned_data
        return promotions.CodeTerms(
            credits_microcredits=int(fields["credits"] * MICROCREDITS_PER_CREDIT),
            batch=fields["batch"],
            expires_after_days=fields["expires_after_days"],
            starts_at=fields["starts_at"],
            ends_at=fields["ends_at"],
            is_for_new_users=fields["is_for_new_users"],
        )


class CodeForm(forms.ModelForm[PromotionCode]):
    """One code. Its worth can be set only when it is made."""

    class Meta:
        model = PromotionCode
        fields = (
            "code",
            "credits_microcredits",
            "expires_after_days",
            "starts_at",
            "ends_at",
            "most_redemptions",
            "most_per_user",
            "is_for_new_users",
            "is_active",
        )

    def clean_code(self) -> str:
        """Return the code as it is stored."""
        return str(self.cleaned_data["code"]).strip().upper()


@admin.register(PromotionCode)
class PromotionCodeAdmin(LargeList, ServiceAdmin):
    """Codes and how often they were used; a used code stays. Adds `generate/` and `stock.csv`.

    Of an existing code, only its end and whether it is active can be changed.
    """

    form = CodeForm
    refusals = (promotions.CodeExists,)
    list_display = (
        "code",
        "credits_microcredits",
        "redemptions_count",
        "most_redemptions",
        "ends_at",
        "batch",
        "is_waiting",
    )
    list_filter = (filter_of_values("batch", gettext_lazy("stock")), "is_active", "is_waiting")
    found_by = ("code", "batch")
    ordering = ("-id",)
    actions = ("export_csv", "approve")

    def get_readonly_fields(self, _request: HttpRequest, obj: PromotionCode | None = None) -> Any:
        """Return the terms of an existing code, which cannot be changed."""
        return () if obj is None else [name for name in CodeForm.Meta.fields if name not in CHANGEABLE]

    def save_model(self, request: HttpRequest, obj: PromotionCode, form: Any, change: bool) -> None:
        """Add or change it."""
        by = cast(Request, request).user
        if change:
            promotions.change_code(code=obj, ends_at=obj.ends_at, is_active=obj.is_active, by=by)
            return
        made = promotions.create_code(by=by, **form.cleaned_data)
        obj.pk = made.pk
        if made.is_waiting:
            messages.warning(request, WAITS)

    def get_urls(self) -> list[URLPattern]:
        """The pages of stocks, before the admin's own."""
        wrap = self.admin_site.admin_view
        return [
            path("generate/", wrap(self.generate_view), name="billing_promotioncode_generate"),
            path("stock.csv", wrap(self.stock_view), name="billing_promotioncode_stock"),
            *super().get_urls(),
        ]

    @admin.action(permissions=["view"], description=gettext_lazy("Export the codes as CSV"))
    def export_csv(self, _request: HttpRequest, chosen: QuerySet[PromotionCode]) -> HttpResponse:
        """The chosen codes, one a line."""
        return _csv_of(chosen.order_by("pk"))

    @admin.action(permissions=["add"], description=gettext_lazy("Approve, with the whole stock"))
    def approve(self, request: HttpRequest, chosen: QuerySet[PromotionCode]) -> None:
        """Let codes that wait for a second person give credits; a code of a stock approves the whole stock."""
        stocks = {code.batch or f"code {code.pk}": code for code in chosen.filter(is_waiting=True)}
        for code in stocks.values():
            try:
                promotions.approve_code(code=code, by=cast(Request, request).user)
            except promotions.ApprovalRefused as refused:
                messages.error(request, f"{code.batch or code}: {refused}")
            else:
                messages.success(request, _("{code} can be redeemed now.").format(code=code.batch or code))

    def generate_view(self, request: HttpRequest) -> HttpResponse:
        """Show the form, then what the stock would be worth, then generate it."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        return answer_in_two_steps(
            request,
            model_admin=self,
            form=StockForm(request.POST or None, initial={"idempotency_key": uuid4()}),
            preview=lambda form: _preview(form, cast(Request, request).user),
            act=lambda form: _generate(request, form),
            page={
                "title": _("Generate a stock of codes"),
                "intro": _("Each code can be redeemed once, by one customer."),
                "button": _("Generate now"),
                "back": reverse("admin:billing_promotioncode_changelist"),
            },
        )

    def stock_view(self, request: HttpRequest) -> HttpResponse:
        """All codes of one stock as a file."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        codes = PromotionCode.objects.filter(batch=request.GET.get("batch", "")).exclude(batch="")
        if not codes.exists():
            raise Http404
        return _csv_of(codes.order_by("pk"))


def _preview(form: StockForm, by: User) -> Preview:
    terms, count = form.terms, form.cleaned_data["count"]
    text = _("{count} codes of {each} credits each: {total} credits if all are redeemed.").format(
        count=count,
        each=format_credits(terms.credits_microcredits),
        total=format_credits(terms.credits_microcredits * count),
    )
    if terms.ends_at is not None:
        text += " " + _("Valid until {end:%Y-%m-%d %H:%M} UTC.").format(end=terms.ends_at)
    if terms.is_for_new_users:
        text += " " + _("For new customers only.")
    if approvals.needs_second_person(by=by, worth_microcredits=terms.credits_microcredits * count):
        text += f" {WAITS}"
    return Preview(text)


def _generate(request: HttpRequest, form: StockForm) -> HttpResponse:
    try:
        made = promotions.generate_codes(
            terms=form.terms, count=form.cleaned_data["count"], by=cast(Request, request).user
        )
    except promotions.StockExists as error:
        raise StepRefused(error, status=HTTPStatus.CONFLICT) from error
    query = urlencode({"batch": form.cleaned_data["batch"]})
    link = f"{reverse('admin:billing_promotioncode_stock')}?{query}"
    text = _("{count} codes are ready.").format(count=len(made))
    if made[0].is_waiting:
        messages.warning(request, WAITS)
    messages.success(request, format_html('{} <a href="{}">{}</a>', text, link, _("Download them as CSV")))
    return redirect(f"{reverse('admin:billing_promotioncode_changelist')}?{query}")


def _csv_of(codes: Iterable[PromotionCode]) -> HttpResponse:
    """Return a file with one code a line."""
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="codes.csv"'
    response["Cache-Control"] = "no-store"
    rows = csv.writer(response)
    rows.writerow(COLUMNS)
    for code in codes:
        text = [harmless(code.code), harmless(code.batch)]
        moments = [moment.isoformat() if moment else "" for moment in (code.starts_at, code.ends_at)]
        worth = f"{Decimal(code.credits_microcredits) / MICROCREDITS_PER_CREDIT:.6f}"
        rows.writerow([*text, worth, *moments, code.redemptions_count])
    return response
