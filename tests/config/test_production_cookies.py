"""The cookies of production: each may only come from this host, over https."""

from django.contrib.messages import constants
from django.contrib.messages.storage.base import Message
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.utils.module_loading import import_string

from tests.core.postgresql.production import read_production


def test_every_cookie_has_the_prefix_that_binds_it_to_the_host(monkeypatch):
    production = read_production(monkeypatch)
    assert production["DEVICE_COOKIE_NAME"].startswith("__Host-")
    for name in ("SESSION", "CSRF", "LANGUAGE"):
        assert production[f"{name}_COOKIE_NAME"].startswith("__Host-")
        assert production[f"{name}_COOKIE_SECURE"] is True
        assert production.get(f"{name}_COOKIE_DOMAIN") is None
        assert production.get(f"{name}_COOKIE_PATH", "/") == "/"
    response = HttpResponse()
    with override_settings(SESSION_COOKIE_SECURE=True):
        request = HttpRequest()
        request.session = SessionBase()
        storage = import_string(production["MESSAGE_STORAGE"])(request)
        storage._store([Message(constants.INFO, "Hello")], response)
    [cookie] = response.cookies.values()
    assert (cookie.key, cookie["secure"], cookie["path"], cookie["domain"]) == ("__Host-messages", True, "/", "")
