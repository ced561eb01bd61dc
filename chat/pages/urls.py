"""URLs of the chat pages."""

from django.urls import path, re_path

from accounts.callers.page_limits import limited
from chat.pages import acting, conversations, prompts, search, sharing, transfer, views
from chat.pages.public import front, installing, texts

estimated = limited("estimates", lambda request: request.method == "POST")
costed = limited("estimates", lambda request: request.method != "POST")
edited = limited("estimates", lambda _request: True)
exported = limited("exports", lambda _request: True)
imported = limited("exports", lambda request: request.method == "POST")
searched = limited("searches", lambda request: bool(request.GET.get("q")))

app_name = "chat"
urlpatterns = [
    path("", views.home, name="home"),
    path("pricing/", front.pricing, name="pricing"),
    path("terms/", texts.terms, name="terms"),
    path("privacy/", texts.privacy, name="privacy"),
    path("manifest.webmanifest", installing.manifest, name="manifest"),
    path("service-worker.js", installing.service_worker, name="service_worker"),
    path("offline/", installing.offline, name="offline"),
    path("send/", views.send, name="send_new"),
    path("estimate/", estimated(views.estimate), name="estimate_new"),
    path("c/<uuid:conversation_id>/estimate/", estimated(views.estimate), name="estimate"),
    path("c/<uuid:conversation_id>/", views.conversation, name="conversation"),
    path("c/<uuid:conversation_id>/send/", views.send, name="send"),
    path("conversations/", conversations.older, name="older"),
    path("conversations/import/", imported(transfer.take_in), name="import"),
    path("conversations/search/", searched(search.results), name="search"),
    path("conversations/archive/", conversations.archive, name="archive"),
    path("c/<uuid:conversation_id>/m/<int:message_id>/", search.open_hit, name="hit"),
    path("conversations/links/", sharing.links, name="links"),
    path("conversations/links/<int:link_id>/revoke/", sharing.revoke, name="revoke"),
    path("prompts/", prompts.saved, name="prompts"),
    path("prompts/pick/", prompts.pick, name="pick_prompt"),
    path("prompts/<int:prompt_id>/", prompts.change, name="prompt"),
    path("prompts/<int:prompt_id>/delete/", prompts.delete, name="delete_prompt"),
    path("s/<str:token>/", sharing.shared, name="shared"),
    path("c/<uuid:conversation_id>/share/", sharing.share, name="share"),
    path("c/<uuid:conversation_id>/export/", transfer.choose_export, name="export"),
    re_path(
        r"^c/(?P<conversation_id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/export\.(?P<kind>md|json)$",
        exported(transfer.download),
        name="download",
    ),
    path("c/<uuid:conversation_id>/rename/", conversations.rename, name="rename"),
    path("c/<uuid:conversation_id>/pin/", conversations.pin, name="pin"),
    path("c/<uuid:conversation_id>/unpin/", conversations.unpin, name="unpin"),
    path("c/<uuid:conversation_id>/archive/", conversations.put_away, name="put_away"),
    path("c/<uuid:conversation_id>/unarchive/", conversations.take_back, name="take_back"),
    path("c/<uuid:conversation_id>/delete/", conversations.delete, name="delete"),
    path("c/<uuid:conversation_id>/restore/", conversations.restore, name="restore"),
    path("m/<int:message_id>/retry/", costed(acting.retry), name="retry"),
    path("m/<int:message_id>/continue/", costed(acting.continue_), name="continue"),
    path("m/<int:message_id>/edit/", edited(acting.edit), name="edit"),
    path("m/<int:message_id>/delete/", acting.delete, name="delete_exchange"),
    path("m/<int:message_id>/select/", acting.select, name="select"),
    path("m/<int:message_id>/rate/", acting.rate, name="rate"),
    path(
        "g/<uuid:generation_id>/events/",
        limited("streams", lambda request: request.method == "GET")(views.events),
        name="events",
    ),
    path("g/<uuid:generation_id>/stop/", views.stop, name="stop"),
]
