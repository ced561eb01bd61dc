"""Saved system prompts, for programs."""

import pytest

from accounts.models import Scope
from chat.models import SavedPrompt

pytestmark = pytest.mark.django_db
PATH = "/api/v1/system-prompts"


def test_a_program_keeps_reads_changes_and_deletes_them(alice, with_key):
    client = with_key(alice, Scope.CHAT)
    made = client.post(PATH, {"name": "Fox", "text": "Be a fox."})
    assert made.status_code == 201
    one = f"{PATH}/{made.json()['id']}"
    assert client.get(one).json() == made.json()
    assert [row["name"] for row in client.get(PATH).json()["results"]] == ["Fox"]
    assert client.patch(one, {"name": "Wolf"}).json()["name"] == "Wolf"
    assert client.get(one).json()["text"] == "Be a fox."
    assert client.delete(one).status_code == 204
    assert client.get(one).status_code == 404


def test_what_cannot_be_kept_is_refused_with_its_code(alice, with_key):
    client = with_key(alice, Scope.CHAT)
    client.post(PATH, {"name": "Fox", "text": "a"})
    assert client.post(PATH, {"name": "Fox", "text": "b"}).json()["code"] == "conflict"
    assert client.post(PATH, {"name": "x" * 61, "text": "b"}).status_code == 400
    assert client.post(PATH, {"name": "Wolf", "text": ""}).status_code == 400
    assert SavedPrompt.objects.count() == 1
