"""Conversations as files: downloads of one, and the import of many."""

import hashlib
from typing import Any
from uuid import UUID, uuid4, uuid5

from django import forms
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import content_disposition_header
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_safe
from rest_framework.exceptions import APIException

from accounts.callers.requests import Request
from chat.pages.conversations import find_conversation
from chat.transfer.exporting import write_json, write_markdown
from chat.transfer.formats import MOST_BYTES, UnreadableFile, read_file
from chat.transfer.importing import NoModel, import_conversations
from core.rest.throttles import IMPORT, count_try

FORMATS = {"md": (write_markdown, "text/markdown; charset=utf-8"), "json": (write_json, "application/json")}


class ImportForm(forms.Form):
    """A file, and the key that makes a double click harmless."""

    file = forms.FileField(
        label=gettext_lazy("File"),
        error_messages={
            "required": gettext_lazy("Choose a file."),
            "empty": gettext_lazy("The file is empty."),
            "missing": gettext_lazy("Choose a file."),
        },
    )
    key = forms.UUIDField(error_messages=dict.fromkeys(("required", "invalid"), gettext_lazy("Reload the page.")))


@require_safe
@login_required
def choose_export(request: Request, conversation_id: UUID) -> HttpResponse:
    """The two files that a conversation can be downloaded as."""
    talk = find_conversation(request, conversation_id)
    return render(request, "chat/export.html", {"heading": _("Export"), "item": talk})


@require_safe
@login_required
def download(request: Request, conversation_id: UUID, kind: str) -> HttpResponse:
    """The conversation as a file: `md` has the branch that is shown, `json` all versions."""
    talk = find_conversation(request, conversation_id)
    write, content_type = FORMATS[kind]
    name = f"{slugify(talk.title, allow_unicode=True) or 'conversation'}.{kind}"
    headers = {"Content-Disposition": content_disposition_header(True, name) or ""}
    return HttpResponse(write(talk), content_type=content_type, headers=headers)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def take_in(request: Request) -> HttpResponse:
    """The form that imports a file, and the import. It costs nothing."""
    form, count = ImportForm(request.POST or None, request.FILES or None), request.GET.get("imported", "")
    if request.method == "POST" and form.is_valid():
        try:
            count_try(request, IMPORT, str(request.user.pk))
            content = form.cleaned_data["file"].read()
            talks = read_file(content)
            # Another file under the same form is another import.
            key = uuid5(form.cleaned_data["key"], hashlib.sha256(content).hexdigest())
            import_conversations(user=request.user, talks=talks, key=key)
        except UnreadableFile as error:
            form.add_error("file", str(error))
        except APIException as refused:
            form.add_error(None, str(refused.detail))
        except NoModel:
            form.add_error(None, _("No model is offered here yet. Try again later."))
        else:
            return redirect(f"{reverse('chat:import')}?imported={len(talks)}")
    context: dict[str, Any] = {"heading": _("Import"), "form": form, "key": uuid4(), "most_bytes": MOST_BYTES}
    if count.isascii() and count.isdigit() and len(count) < 5:
        context["count"] = int(count)
    return render(request, "chat/import.html", context, status=422 if request.method == "POST" else 200)
