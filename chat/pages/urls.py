"""URLs of the chat pages."""

from django.urls import path

from accounts.callers.page_limits import limited
from chat.pages import acting, front, texts, views

estimated = limited("estimates", lambda request: request.method == "POST")
costed = limited("estimates", lambda request: request.method != "POST")
searched = limited("searches", lambda request: bool(request.GET.get("q")))

app_name = "chat"
urlpatterns = [
    path("", searched(views.home), name="home"),
    path("pricing/", front.pricing, name="pricing"),
    path("terms/", texts.terms, name="terms"),
    path("privacy/", texts.privacy, name="privacy"),
    path("send/", views.send, name="send_new"),
    path("estimate/", estimated(views.estimate), name="estimate_new"),
    path("c/<uuid:conversation_id>/estimate/", estimated(views.estimate), name="estimate"),
    path("c/<uuid:conversation_id>/", searched(views.conversation), name="conversation"),
    path("c/<uuid:conversation_id>/send/", views.send, name="send"),
    path("m/<int:message_id>/retry/", costed(acting.retry), name="retry"),
    path("m/<int:message_id>/continue/", costed(acting.continue_), name="continue"),
    path("m/<int:message_id>/edit/", costed(acting.edit), name="edit"),
    path("m/<int:message_id>/delete/", acting.delete, name="delete"),
    path("m/<int:message_id>/select/", acting.select, name="select"),
    path("m/<int:message_id>/rate/", acting.rate, name="rate"),
    path(
        "g/<uuid:generation_id>/events/",
        limited("streams", lambda request: request.method == "GET")(views.events),
        name="events",
    ),
    path("g/<uuid:generation_id>/stop/", views.stop, name="stop"),
]
