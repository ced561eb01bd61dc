"""URLs of the settings that are about money."""

from django.urls import path

from billing.pages.settings import keys, notifications, your_data

urlpatterns = [
    path("notifications/", notifications.notifications, name="notifications"),
    path("data/", your_data.data, name="data"),
    path("data/archives/<uuid:archive_id>/", your_data.archive, name="archive"),
    path("data/delete/", your_data.delete, name="delete"),
    path("data/keep/", your_data.keep, name="keep"),
    path("keys/", keys.keys, name="keys"),
    path("keys/new/", keys.new_key, name="new_key"),
    path("keys/<int:key_id>/", keys.key, name="key"),
    path("keys/<int:key_id>/rotate/", keys.rotate_key, name="rotate_key"),
    path("keys/<int:key_id>/revoke/", keys.revoke_key, name="revoke_key"),
]
