"""A conversation as a file, and links with which anybody reads it, for programs."""

from uuid import UUID, uuid4

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.callers.views import ApiList
from chat.api import examples
from chat.api.serializers import ExportOut, LinkIn, LinkOut
from chat.api.views import TAG, ConversationView
from chat.models import SharedLink
from chat.transfer.exporting import export_conversation
from chat.transfer.sharing import NothingToShare, revoke_link, share_conversation
from core.rest.problems import CONFLICT, explain
from core.rest.schema import operation

explain(NothingToShare, CONFLICT)


class Export(ConversationView):
    """A conversation as a file."""

    @operation(tag=TAG, summary="Export a conversation", answer=ExportOut, example=examples.EXPORT)
    def get(self, _request: Request, conversation_id: UUID) -> Response:
        """All versions of all messages, in the format that the page's import reads."""
        return Response(export_conversation(self.find(conversation_id)))


class Links(ConversationView, ApiList):
    """The links to one conversation."""

    serializer_class = LinkOut
    ordering = "-created_at"

    def rows(self) -> QuerySet[SharedLink]:
        """The links to the caller's conversation. Raises Http404."""
        return SharedLink.objects.filter(conversation=self.find(self.kwargs["conversation_id"]))

    @operation(tag=TAG, summary="List the shared links", answer=LinkOut(many=True), example=examples.LINK)
    def get(self, request: Request, conversation_id: UUID) -> Response:  # noqa: ARG002  read from kwargs
        """The latest first, with those that were revoked or have expired."""
        return self.list(request)

    @operation(
        tag=TAG,
        summary="Share a conversation",
        answer=LinkOut,
        example=examples.LINK,
        body=LinkIn,
        body_example={"days": 7},
        status=201,
        errors=(409,),
    )
    def post(self, _request: Request, conversation_id: UUID) -> Response:
        """Make a link with which anybody reads the branch that the page shows, as it is now: later messages are not
        shown, nor your name, nor what it cost. 409 for an empty conversation.
        """
        conversation, fields = self.find(conversation_id), self.read_body(LinkIn)
        link = share_conversation(conversation=conversation, days=fields["days"], key=uuid4())
        return Response(LinkOut(link).data, status=201)


class Link(ConversationView):
    """One link."""

    @operation(tag=TAG, summary="Revoke a shared link", status=204)
    def delete(self, _request: Request, conversation_id: UUID, link_id: int) -> Response:
        """Nobody can read it any more; again, nothing happens."""
        own = SharedLink.objects.filter(conversation=self.find(conversation_id))
        revoke_link(link=get_object_or_404(own, pk=link_id))
        return Response(status=204)
