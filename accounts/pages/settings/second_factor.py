"""The page of the second factor: the app, the passkeys and the recovery codes."""

from typing import Any

from django.contrib.auth.mixins import LoginRequiredMixin
from django.views.generic import TemplateView

from accounts.login.second_factor import describe


class SecondFactor(LoginRequiredMixin, TemplateView):
    """What is set up; allauth's pages, which it leads to, change it."""

    template_name = "mfa/index.html"

    def get_context_data(self, **more: Any) -> dict[str, Any]:
        """With what the user has."""
        return super().get_context_data(**more) | {"factor": describe(self.request.user)}  # type: ignore[arg-type]
