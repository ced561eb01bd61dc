"""URLs of the settings that are about the person."""

from django.urls import path

from accounts.pages.settings import devices, profile, signing_in

urlpatterns = [
    path("", profile.profile, name="profile"),
    path("signing-in/", signing_in.signing_in, name="signing_in"),
    path("devices/", devices.devices, name="devices"),
    path("devices/others/end/", devices.end_all_others, name="end_all_others"),
    path("devices/<int:row_id>/end/", devices.end_browser, name="end_browser"),
    path("devices/programs/<uuid:session_id>/end/", devices.end_program, name="end_program"),
]
