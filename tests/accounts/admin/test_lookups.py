"""The lists of the admin answer what their own filters ask, and no address asks about anything else."""

import pytest
from django.contrib import admin
from django.test import RequestFactory
from django.urls import reverse

from tests.support.cast import answered_talk

LISTS = sorted(admin.site._registry.items(), key=lambda item: item[0].__name__)
WAYS = ("regex", "iregex", "contains", "icontains", "startswith", "endswith", "length__gt", "gt")


@pytest.mark.parametrize(("model", "its_admin"), LISTS, ids=[model.__name__ for model, _admin in LISTS])
def test_no_list_can_be_asked_about_its_columns_letter_by_letter(model, its_admin):
    request = RequestFactory().get("/")
    for field in model._meta.get_fields():
        asked = [f"{field.name}__{way}" for way in WAYS]
        if field.is_relation and field.related_model:
            asked += [f"{field.name}__{other.name}__regex" for other in field.related_model._meta.concrete_fields]
        allowed = [lookup for lookup in asked if its_admin.lookup_allowed(lookup, "x", request)]
        assert allowed == [], model
    for column in ("text", "password", "secret_hash", "title", "prompt_token_ids"):
        assert not its_admin.lookup_allowed(column, "x", request)


def test_an_address_that_asks_for_text_is_refused_and_a_filter_is_not(client, staff, alice, catalogue):
    answered_talk(alice, catalogue)
    client.force_login(staff)
    generations = reverse("admin:inference_generation_changelist")
    assert client.get(generations, {"text__regex": "^[A-M]"}).status_code == 400
    assert client.get(generations, {"user__password__startswith": "bcrypt"}).status_code == 400
    queries = (
        {"state__exact": "completed"},
        {"model__key__exact": catalogue.key},
        {"created_at__gte": "2020-01-01 00:00:00+00:00"},
    )
    for query in queries:
        assert client.get(generations, query).status_code == 200
    codes = reverse("admin:billing_promotioncode_changelist")
    assert client.get(codes, {"batch": "spring"}).status_code == 200


def test_titles_of_conversations_stand_nowhere_in_the_admin(client, staff, alice, catalogue):
    talk = answered_talk(alice, catalogue)
    talk.title = "My divorce"
    talk.save()
    client.force_login(staff)
    for name, arguments in (("changelist", []), ("change", [talk.pk])):
        page = client.get(reverse(f"admin:chat_conversation_{name}", args=arguments)).content.decode()
        assert str(talk.pk) in page
        assert "divorce" not in page
