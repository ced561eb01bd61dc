"""The admin's site: Django's, with a search for customers on every page, and pages of Tally's own."""

from typing import Any, cast

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path
from django.utils.translation import gettext_lazy as _

from accounts.callers.requests import Request
from accounts.models import AuditEvent
from backoffice.admin import customer, find
from backoffice.waiting import read_waiting_for

MOST_ACTIONS = 6


class TallyAdminSite(admin.AdminSite):
    """Django's site with Tally's pages. Whoever may see users may search for them."""

    enable_nav_sidebar = False
    site_header = "Tally"
    site_title = "Tally"
    index_title = _("What waits for you")

    def get_urls(self) -> list[URLResolver | URLPattern]:
        """Tally's pages, before Django's."""
        from billing.admin import approvals  # not above: this package registers its tables with this site

        own = [
            path("find/", self.admin_view(find.find), name="find"),
            path("approvals/", self.admin_view(approvals.inbox), name="approvals"),
            path("approvals/<str:kind>/<uuid:row_id>/", self.admin_view(approvals.approval), name="approval"),
            path("customers/<int:user_id>/", self.admin_view(customer.customer), name="customer"),
        ]
        return [*own, *super().get_urls()]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The start page: what waits for this person, then the lists."""
        staff = cast(Request, request).user
        found = {
            "waiting": read_waiting_for(staff),
            "last_actions": AuditEvent.objects.filter(actor=staff)
            .select_related("subject")
            .order_by("-pk")[:MOST_ACTIONS],
            "limit_microcredits": settings.REFUND_APPROVAL_MICROCREDITS,
            "sees_money": staff.has_perm("billing.view_refund"),
        }
        return super().index(request, {**found, **(extra_context or {})})

    def each_context(self, request: HttpRequest) -> Any:
        """What every page of the admin knows: also whether there is a search box."""
        return {**super().each_context(request), "may_find": request.user.has_perm(find.PERMISSION)}
