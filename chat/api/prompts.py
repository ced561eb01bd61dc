"""Saved system prompts, for programs: what a customer picks from in the settings of a conversation."""

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.callers.views import ApiList, ApiView
from chat.api import examples
from chat.models import PROMPT_NAME_LENGTH, SavedPrompt
from chat.saved_prompts import NameTaken, TooManySaved, change_prompt, delete_prompt, save_prompt
from core.rest.fields import ApiInput, Text
from core.rest.problems import CONFLICT, explain
from core.rest.schema import operation
from inference.api.serializers import Words
from inference.api.views import CHAT

TAG = "System prompts"

explain(TooManySaved, CONFLICT)
explain(NameTaken, CONFLICT)


class SavedPromptOut(serializers.ModelSerializer[SavedPrompt]):
    """A system prompt that is kept under a name."""

    class Meta:
        model = SavedPrompt
        fields = ("id", "name", "text", "created_at", "updated_at")
        read_only_fields = fields


class SavedPromptIn(ApiInput):
    """A system prompt to keep."""

    name = Text(max_length=PROMPT_NAME_LENGTH, help_text="Each name once.")
    text = Words(help_text="What the model is told before the first message.")


class SavedPromptChangesIn(ApiInput):
    """What is to be changed of a saved system prompt."""

    name = Text(required=False, max_length=PROMPT_NAME_LENGTH)
    text = Words(required=False)


class Prompts(ApiList):
    """The caller's saved system prompts."""

    permission_classes = (CHAT,)
    serializer_class = SavedPromptOut
    ordering = "-created_at"

    def rows(self) -> QuerySet[SavedPrompt]:
        """The caller's own."""
        return SavedPrompt.objects.filter(user=self.caller)

    @operation(
        tag=TAG,
        summary="List my saved system prompts",
        answer=SavedPromptOut(many=True),
        example=examples.SAVED_PROMPT,
    )
    def get(self, request: Request) -> Response:
        """At most 50, the latest first. Their texts go into `system_prompt` of a conversation."""
        return self.list(request)

    @operation(
        tag=TAG,
        summary="Keep a system prompt",
        answer=SavedPromptOut,
        example=examples.SAVED_PROMPT,
        body=SavedPromptIn,
        body_example=examples.SAVED_PROMPT_BODY,
        status=201,
        errors=(409, 422),
    )
    def post(self, _request: Request) -> Response:
        """409 if there is another one of this name, or if you keep 50 already."""
        fields = self.read_body(SavedPromptIn)
        return Response(SavedPromptOut(save_prompt(user=self.caller, **fields)).data, status=201)


class OnePrompt(ApiView):
    """One of them."""

    permission_classes = (CHAT,)

    def find(self, prompt_id: int) -> SavedPrompt:
        """The caller's own. Raises Http404."""
        return get_object_or_404(SavedPrompt.objects.filter(user=self.caller), pk=prompt_id)

    @operation(tag=TAG, summary="Look at a saved system prompt", answer=SavedPromptOut, example=examples.SAVED_PROMPT)
    def get(self, _request: Request, prompt_id: int) -> Response:
        """Its name and its whole text."""
        return Response(SavedPromptOut(self.find(prompt_id)).data)

    @operation(
        tag=TAG,
        summary="Change a saved system prompt",
        answer=SavedPromptOut,
        example=examples.SAVED_PROMPT | {"name": "Teacher"},
        body=SavedPromptChangesIn,
        body_example={"name": "Teacher"},
        errors=(409, 422),
    )
    def patch(self, _request: Request, prompt_id: int) -> Response:
        """Conversations that use it keep what they have."""
        prompt = self.find(prompt_id)
        fields = {"name": prompt.name, "text": prompt.text} | self.read_body(SavedPromptChangesIn)
        change_prompt(prompt=prompt, **fields)
        return Response(SavedPromptOut(prompt).data)

    @operation(tag=TAG, summary="Delete a saved system prompt", status=204)
    def delete(self, _request: Request, prompt_id: int) -> Response:
        """Conversations that use it keep what they have."""
        delete_prompt(prompt=self.find(prompt_id))
        return Response(status=204)
