"""Chat's part of /api/v1/."""

from django.urls import path

from chat.api import links, prompts, views

MESSAGE = "conversations/<uuid:conversation_id>/messages/<int:message_id>"

urlpatterns = [
    path("system-prompts", prompts.Prompts.as_view(), name="system_prompts"),
    path("system-prompts/<int:prompt_id>", prompts.OnePrompt.as_view(), name="system_prompt"),
    path("conversations", views.Conversations.as_view(), name="conversations"),
    path("conversations/<uuid:conversation_id>", views.One.as_view(), name="conversation"),
    path("conversations/<uuid:conversation_id>/messages", views.Messages.as_view(), name="messages"),
    path(MESSAGE, views.OneMessage.as_view(), name="message"),
    path(f"{MESSAGE}/select", views.Select.as_view(), name="message_select"),
    path(f"{MESSAGE}/regenerate", views.Regenerate.as_view(), name="message_regenerate"),
    path(f"{MESSAGE}/continue", views.Continue.as_view(), name="message_continue"),
    path("conversations/<uuid:conversation_id>/stop", views.Stop.as_view(), name="conversation_stop"),
    path("conversations/<uuid:conversation_id>/branch", views.Branch.as_view(), name="conversation_branch"),
    path("conversations/<uuid:conversation_id>/export", links.Export.as_view(), name="conversation_export"),
    path("conversations/<uuid:conversation_id>/links", links.Links.as_view(), name="conversation_links"),
    path("conversations/<uuid:conversation_id>/links/<int:link_id>", links.Link.as_view(), name="conversation_link"),
]
