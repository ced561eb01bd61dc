"""The page on which staff give up an answer that does not end."""

from typing import Any, cast
from uuid import uuid4

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from accounts.callers.requests import Request
from billing.templatetags.money import format_credits
from core.admin.reasons import ReasonedForm, ReleaseReason
from core.admin.steps import Line, Preview, StepRefused, answer_in_two_steps
from inference.generations import releasing
from inference.models import Generation


class ReleaseForm(ReasonedForm):
    """Asks why."""

    reasons = ReleaseReason


class ReleasePage(admin.ModelAdmin[Generation]):
    """Adds the page `<id>/release/`."""

    def get_urls(self) -> list[URLPattern]:
        """The page, before the admin's own."""
        view = self.admin_site.admin_view(self.release_view)
        return [path("<path:object_id>/release/", view, name="inference_generation_release"), *super().get_urls()]

    def release_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask why, show what becomes of the held credits, then release."""
        if not request.user.has_perm(releasing.PERMISSION):
            raise PermissionDenied
        generation = self.get_object(request, object_id)
        if generation is None:
            raise Http404
        sees_customer = request.user.has_perm("accounts.view_user")
        back = reverse("admin:customer", args=[generation.user_id]) if sees_customer else reverse("admin:index")

        def do(form: ReleaseForm) -> HttpResponse:
            said = {name: form.cleaned_data[name] for name in ("reason", "note")}
            try:
                releasing.release_stuck(generation_id=generation.pk, by=cast(Request, request).user, **said)
            except releasing.ReleaseRefused as refused:
                raise StepRefused(refused) from refused
            messages.success(request, _("Done: the answer has ended, and costs nothing."))
            return redirect(back)

        return answer_in_two_steps(
            request,
            model_admin=self,
            form=ReleaseForm(request.POST or None, initial={"idempotency_key": uuid4()}),
            preview=lambda _form: _preview(generation),
            act=do,
            page={
                "title": _("Release a stuck answer"),
                "original": generation,
                "facts": _facts(generation),
                "button": _("Release now"),
                "back": back,
            },
        )


def _facts(generation: Generation) -> list[tuple[str, Any]]:
    return [
        (_("Answer"), generation.pk),
        (_("Model"), generation.model_id),
        (_("State"), generation.get_state_display()),
        (_("Since"), date_format(generation.started_at or generation.created_at, "Y-m-d H:i:s")),
    ]


def _preview(generation: Generation) -> Preview:
    """Return what happens to the held credits. Refuses what the service would refuse."""
    if not releasing.stuck().filter(pk=generation.pk).exists():
        raise StepRefused(_("This answer is not stuck: it has ended, or its worker is at it."))
    held = generation.hold.amount_microcredits
    amounts = (format_credits(held), f"-{format_credits(held)}", format_credits(0))
    return Preview(
        _("The answer ends with an error, its held credits are free again, and it costs nothing."),
        lines=(Line(_("Held for it, credits"), *amounts),),
    )
