"""One customer on one page, and the notes that staff write there."""

from typing import cast
from uuid import uuid4

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from accounts.callers.requests import Request
from accounts.models import User
from backoffice.admin.find import PERMISSION
from backoffice.customers import read_customer
from backoffice.models import MOST_CHARACTERS
from backoffice.notes import write_note


class NoteForm(forms.Form):
    """A note. `form_id` makes a double click harmless."""

    form_id = forms.UUIDField(widget=forms.HiddenInput)
    text = forms.CharField(
        label=gettext_lazy("New note"),
        max_length=MOST_CHARACTERS,
        widget=forms.Textarea(
            attrs={
                "rows": 3,
                "class": "vLargeTextField",
                "dir": "auto",
                "placeholder": gettext_lazy("Customers never see notes"),
            }
        ),
    )


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required(PERMISSION, raise_exception=True)
def customer(request: HttpRequest, user_id: int) -> HttpResponse:
    """Show the customer; write the note that was sent."""
    user = get_object_or_404(User.objects.select_related("wallet"), pk=user_id)
    form = NoteForm(request.POST or None, initial={"form_id": uuid4()})
    if request.method == "POST":
        if not request.user.has_perm("backoffice.add_note"):
            raise PermissionDenied
        if form.is_valid():
            write_note(customer=user, by=cast(Request, request).user, **form.cleaned_data)
            messages.success(request, _("The note was added."))
            return redirect("admin:customer", user.pk)
    context = {"title": user.email, "seen": read_customer(request, user), "customer": user, "note_form": form}
    return TemplateResponse(request, "admin/customer.html", admin.site.each_context(request) | context)
