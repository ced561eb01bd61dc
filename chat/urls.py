"""URLs of the chat pages."""

from django.urls import path

from chat import views

app_name = "chat"
urlpatterns = [
    path("", views.home, name="home"),
    path("send/", views.send, name="send_new"),
    path("estimate/", views.estimate, name="estimate_new"),
    path("c/<uuid:conversation_id>/estimate/", views.estimate, name="estimate"),
    path("c/<uuid:conversation_id>/", views.conversation, name="conversation"),
    path("c/<uuid:conversation_id>/send/", views.send, name="send"),
    path("m/<int:message_id>/retry/", views.retry, name="retry"),
    path("g/<uuid:generation_id>/events/", views.events, name="events"),
    path("g/<uuid:generation_id>/stop/", views.stop, name="stop"),
]
