"""The pages of one's data: the archive to download, and the end of the account, which can be undone for a week."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any, cast
from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from rest_framework.exceptions import APIException

from accounts import data_archives
from accounts.callers.recent_log_ins import recently_confirmed
from accounts.callers.requests import Request
from accounts.data_export import SECTIONS
from accounts.login import registration, second_factor
from accounts.models import ApiKey, DataArchive
from billing import closing
from core.async_queries import in_thread
from core.rest.throttles import EXPORT, count_try

FORM = ["GET", "HEAD", "POST"]


class DeleteForm(forms.Form):
    """The password, a code where two-step is on, and how many credits the user saw that go."""

    password = forms.CharField(
        label=gettext_lazy("Your password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"class": "field", "autocomplete": "current-password"}),
    )
    code = forms.CharField(
        label=gettext_lazy("Code of your app, or a recovery code"),
        required=False,
        widget=forms.TextInput(attrs={"class": "field num", "autocomplete": "one-time-code"}),
    )
    forfeits_microcredits = forms.IntegerField(min_value=0, widget=forms.HiddenInput)


@require_http_methods(FORM)
@login_required
def data(request: Request) -> HttpResponse:
    """The archive, if there is one, and what one can ask for. A POST asks for a new archive."""
    if request.method == "POST":
        return cast(HttpResponse, _prepare(request))
    plan = closing.plan_closing(user=request.user)
    archive = DataArchive.objects.for_user(request.user).first()
    return _render(request, "data", plan=plan, archive=archive, counts=_counts(request))


@recently_confirmed
def _prepare(request: Request) -> HttpResponse:
    try:
        count_try(request, EXPORT, str(request.user.pk))
    except APIException as refused:
        messages.error(request, str(refused.detail))
        return redirect("settings:data")
    data_archives.request_archive(user=request.user)
    messages.success(request, _("It is being made; we mail you when it is ready"))
    return redirect("settings:data")


@require_safe
@login_required
@recently_confirmed
def archive(request: Request, archive_id: UUID) -> StreamingHttpResponse:
    """The file."""
    found = get_object_or_404(DataArchive.objects.for_user(request.user).ready(), pk=archive_id)
    response = StreamingHttpResponse(_stream(found), content_type="application/zip")
    response["Content-Disposition"] = 'attachment; filename="tally-data.zip"'
    response["Content-Length"] = str(found.size_bytes)
    return response


@require_http_methods(FORM)
@login_required
def delete(request: Request) -> HttpResponse:
    """Say what goes and what stays, ask for the password, and let the account close in a week."""
    if request.user.closes_at is not None:
        return redirect("settings:data")
    form = DeleteForm(request.POST if request.method == "POST" else None)
    if form.is_valid() and _request_closing(request, form):
        return redirect("settings:data")
    context = {
        "form": form,
        "plan": closing.plan_closing(user=request.user),
        "counts": _counts(request),
        "wants_code": second_factor.has_second_factor(request.user),
    }
    return _render(request, "delete", status=422 if form.is_bound else 200, **context)


@require_POST
@login_required
def keep(request: Request) -> HttpResponse:
    """Keep the account after all."""
    if closing.keep_account(user=request.user):
        messages.success(request, _("Your account stays"))
    return redirect("settings:data")


def _request_closing(request: Request, form: DeleteForm) -> bool:
    """Whether the account closes now; if not, the form says why."""
    sent = form.cleaned_data
    try:
        registration.confirm_password(request=request, user=request.user, password=sent["password"])
        second_factor.confirm_code(request=request, user=request.user, code=sent["code"])
        closing.request_closing(user=request.user, forfeits_microcredits=sent["forfeits_microcredits"])
    except registration.FieldsRefused as error:
        form.add_error("password", error.errors["password"])
    except (second_factor.CodeWanted, second_factor.WrongCode) as error:
        form.add_error("code", _("Write a code of your app.") if not sent["code"] else str(error))
    except closing.ClosingRefused as error:
        form.add_error(None, str(error))
    except APIException as error:  # too many tries
        form.add_error(None, str(error.detail))
    return not form.errors


async def _stream(archive: DataArchive) -> AsyncIterator[bytes]:
    number = 0
    while (part := await in_thread(partial(data_archives.read_part, archive, number))) is not None:
        yield part
        number += 1


def _counts(request: Request) -> dict[str, int]:
    """How many conversations and keys would go. Chat adds its conversations to the export, which knows them."""
    talks = SECTIONS.get("conversations")
    return {
        "conversations": talks.rows(request.user).count() if talks else 0,
        "keys": ApiKey.objects.for_user(request.user).live().count(),
    }


def _render(request: Request, name: str, status: int = 200, **context: Any) -> HttpResponse:
    page = {"heading": _("Settings"), "section": "data"}
    return render(request, f"billing/settings/{name}.html", page | context, status=status)
