"""URLs of the settings that are about money."""

from django.urls import path

from billing.pages.settings import keys

urlpatterns = [
    path("keys/", keys.keys, name="keys"),
    path("keys/new/", keys.new_key, name="new_key"),
    path("keys/<int:key_id>/", keys.key, name="key"),
    path("keys/<int:key_id>/rotate/", keys.rotate_key, name="rotate_key"),
    path("keys/<int:key_id>/revoke/", keys.revoke_key, name="revoke_key"),
]
