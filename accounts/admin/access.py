"""What staff do to a user's access: suspend, restore, end all log-ins, reset the second factor. Each asks why first."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast
from uuid import UUID, uuid4

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django_stubs_ext import StrOrPromise

from accounts.callers.requests import Request
from accounts.models import User
from accounts.staff import second_factor, suspension
from core.admin.reasons import AccessReason, ReasonedForm
from core.admin.steps import Preview, StepRefused, answer_in_two_steps

PERMISSION = "accounts.suspend_user"


class AccessForm(ReasonedForm):
    """Asks why."""

    reasons = AccessReason


@dataclass(frozen=True, slots=True)
class Action:
    """One of the pages: its words, and the service that does it, once for each form."""

    title: StrOrPromise
    button: StrOrPromise
    will: StrOrPromise
    act: Callable[..., Any]


ACTIONS = {
    "suspend": Action(
        gettext_lazy("Suspend"),
        gettext_lazy("Suspend now"),
        gettext_lazy("{user} is shut out, of pages and API. Running answers are finished and charged as usual."),
        suspension.suspend_user,
    ),
    "restore": Action(
        gettext_lazy("Restore"),
        gettext_lazy("Restore now"),
        gettext_lazy("{user} may log in again."),
        suspension.restore_user,
    ),
    "end_logins": Action(
        gettext_lazy("End all log-ins"),
        gettext_lazy("End all log-ins now"),
        gettext_lazy("{user} is logged out everywhere, of pages and API. Keys stay. The password stays."),
        suspension.end_logins,
    ),
    "reset_factor": Action(
        gettext_lazy("Reset second factor"),
        gettext_lazy("Reset the second factor now"),
        gettext_lazy(
            "The app, passkeys and recovery codes of {user} are removed, and all log-ins end. From then on the password"
            " alone logs in. The customer gets a mail. Make sure that it is the customer who asks."
        ),
        second_factor.reset_second_factor,
    ),
}


class AccessPages(admin.ModelAdmin[User]):
    """Adds the pages `<id>/suspend/` and so on. They need the permission to suspend, not the one to change users."""

    def get_urls(self) -> list[URLPattern]:
        """The pages, before the admin's own."""
        return [
            *(
                path(
                    f"<path:object_id>/{name.replace('_', '-')}/",
                    self.admin_site.admin_view(partial(self.access_view, action=action)),
                    name=f"accounts_user_{name}",
                )
                for name, action in ACTIONS.items()
            ),
            *super().get_urls(),
        ]

    def access_view(self, request: HttpRequest, object_id: str, *, action: Action) -> HttpResponse:
        """Ask why, show what will happen, then do it. Raises PermissionDenied or Http404."""
        if not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        user = self.get_object(request, object_id)
        if user is None:
            raise Http404
        back = reverse("admin:customer", args=[user.pk])

        def do(form: AccessForm) -> HttpResponse:
            try:
                action.act(user=user, by=cast(Request, request).user, **_said(form.cleaned_data))
            except suspension.SuspensionRefused as refused:
                raise StepRefused(refused) from refused
            messages.success(request, _("Done."))
            return redirect(back)

        return answer_in_two_steps(
            request,
            model_admin=self,
            form=AccessForm(request.POST or None, initial={"idempotency_key": uuid4()}),
            preview=lambda _form: Preview(str(action.will).format(user=user)),
            act=do,
            page={
                "title": action.title,
                "original": user,
                "facts": [(_("Customer"), user), (_("State"), _("Active") if user.is_active else _("Shut out"))],
                "button": action.button,
                "back": back,
            },
        )


def _said(fields: dict[str, Any]) -> dict[str, str | UUID]:
    """What the services want of the form."""
    return {"reason": fields["reason"], "note": fields["note"], "form_id": fields["idempotency_key"]}
