"""Chat's part of /api/v1/."""

from django.urls import path

from chat import api

urlpatterns = [
    path("conversations", api.Conversations.as_view(), name="conversations"),
    path("conversations/<uuid:conversation_id>", api.One.as_view(), name="conversation"),
    path("conversations/<uuid:conversation_id>/messages", api.Messages.as_view(), name="messages"),
    path(
        "conversations/<uuid:conversation_id>/messages/<int:message_id>/regenerate",
        api.Regenerate.as_view(),
        name="message_regenerate",
    ),
    path("conversations/<uuid:conversation_id>/stop", api.Stop.as_view(), name="conversation_stop"),
    path("conversations/<uuid:conversation_id>/branch", api.Branch.as_view(), name="conversation_branch"),
]
