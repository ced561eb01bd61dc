"""The search for a customer: one hit opens the customer at once, several are listed."""

from django.contrib import admin
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from backoffice.finding import MOST_FOUND, find_customers

PERMISSION = "accounts.view_user"


@require_safe
@permission_required(PERMISSION, raise_exception=True)
def find(request: HttpRequest) -> HttpResponse:
    """Look for what was written in the search box."""
    text = request.GET.get("q", "")
    found = find_customers(text)
    if len(found) == 1:
        return redirect("admin:customer", found[0].pk)
    context = {"title": _("Find a customer"), "found": found, "sought": text.strip(), "most": MOST_FOUND}
    return TemplateResponse(request, "admin/find.html", admin.site.each_context(request) | context)
