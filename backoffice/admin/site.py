"""The admin's site: Django's, with a search for customers on every page, and pages of Tally's own."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import URLPattern, URLResolver, path
from django.utils.translation import gettext_lazy as _

from backoffice.admin import customer, find


class TallyAdminSite(admin.AdminSite):
    """Django's site with Tally's pages. Whoever may see users may search for them."""

    enable_nav_sidebar = False
    site_header = "Tally"
    site_title = "Tally"
    index_title = _("What waits for you")

    def get_urls(self) -> list[URLResolver | URLPattern]:
        """Tally's pages, before Django's."""
        own = [
            path("find/", self.admin_view(find.find), name="find"),
            path("customers/<int:user_id>/", self.admin_view(customer.customer), name="customer"),
        ]
        return [*own, *super().get_urls()]

    def each_context(self, request: HttpRequest) -> Any:
        """What every page of the admin knows: also whether there is a search box."""
        return {**super().each_context(request), "may_find": request.user.has_perm(find.PERMISSION)}
