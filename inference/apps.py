"""Registers the app, its checks of the ledger, and its rows in a user's data export."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class InferenceConfig(AppConfig):
    """Models and generations."""

    name = "inference"
    verbose_name = _("Inference")

    def ready(self) -> None:
        """Add the checks of generations to `verify_ledger`, their rows to the data export, and the signals."""
        from accounts.data_export import Section, add_section
        from billing.ledger.verification.checks import register_check
        from inference import receivers  # noqa: F401
        from inference.generations.ledger_checks import (
            cached_answers_repeat_what_was_generated,
            charges_are_for_answers,
            generations_match_their_holds,
            refunds_by_nobody_are_of_answers,
        )
        from inference.models import AnswerLogprobs, Generation

        register_check(generations_match_their_holds)
        register_check(cached_answers_repeat_what_was_generated)
        register_check(charges_are_for_answers)
        register_check(refunds_by_nobody_are_of_answers)
        columns = ("model_id", "state", "text", "prompt_tokens", "completion_tokens", "hold_id", "created_at")
        add_section(Section("generations", lambda user: Generation.objects.filter(user=user), columns))
        kept = Section(
            "logprobs", lambda user: AnswerLogprobs.objects.filter(generation__user=user), ("tokens",), batch_rows=10
        )
        add_section(kept)
