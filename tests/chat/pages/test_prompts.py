"""Saved system prompts on their page and in the settings of a conversation, with JavaScript and without."""

import pytest
from django.urls import reverse

from chat.models import SavedPrompt
from chat.saved_prompts import save_prompt
from tests.chat.pages.browser import path_of
from tests.e2e.looking import look_at
from tests.support.cast import answered_talk

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume"),  # WhiteNoise's files, as in config.asgi
]
FOX = "You are a fox, and answer as a fox would."


@pytest.mark.parametrize("has_script", [True, False])
def test_a_prompt_is_kept_renamed_used_and_deleted(open_page, alice, catalogue, has_script):
    page = open_page(alice, reverse("chat:prompts"), java_script_enabled=has_script)
    page.fill("#id_name", "Fox")
    page.fill("#id_text", FOX)
    page.click("text=Keep it")
    page.click("li >> text=Change")
    page.fill("#id_name", "Old fox")
    page.click(".go >> text=Save")
    page.wait_for_selector("li:has-text('Old fox')")
    page.click("text=New chat with it")
    assert page.input_value("#id_system_prompt") == FOX
    page.goto(page.url.partition("?")[0] + "prompts/")
    page.click("li >> text=Delete")
    page.wait_for_selector(".rows", state="detached")
    assert not SavedPrompt.objects.exists()


@pytest.mark.parametrize("size", [(390, 844), (1440, 900)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_saved_one_is_taken_in_the_settings_of_a_conversation(open_page, alice, catalogue, size, scheme):
    talk = answered_talk(alice, catalogue)
    save_prompt(user=alice, name="Fox", text=FOX)
    save_prompt(user=alice, name="A wolf with a long name, wider than a phone shows at once", text="Wolf")
    look = {"viewport": {"width": size[0], "height": size[1]}, "color_scheme": scheme}
    page = open_page(alice, path_of(talk), **look)
    page.click("[aria-label='Settings of this conversation']")
    page.select_option(".kept select", label="Fox")
    page.wait_for_function("text => document.querySelector('#id_system_prompt').value === text", arg=FOX)
    look_at(page, f"saved-pick-{scheme}-{size[0]}")
    page.fill("#prompt", "What are you?")
    page.press("#prompt", "Enter")
    page.wait_for_function("() => document.querySelectorAll('.turn.it').length > 1")
    talk.refresh_from_db()
    assert talk.system_prompt == FOX
    page.goto(page.url.partition("/c/")[0] + "/prompts/")
    look_at(page, f"saved-prompts-{scheme}-{size[0]}")


def test_what_is_refused_says_why_and_keeps_what_was_written(client, alice, catalogue):
    client.force_login(alice)
    save_prompt(user=alice, name="Fox", text="a")
    refused = client.post(reverse("chat:prompts"), {"name": "Fox", "text": "Another"})
    words = refused.content.decode()
    assert refused.status_code == 422
    assert "You have another system prompt of this name." in words
    assert "Another</textarea>" in words


def test_prompts_of_others_are_not_there(client, alice, charlie, catalogue):
    prompt = save_prompt(user=alice, name="Fox", text=FOX)
    client.force_login(charlie)
    for answer in (
        client.get(reverse("chat:prompt", args=[prompt.pk])),
        client.post(reverse("chat:prompt", args=[prompt.pk]), {"name": "x", "text": "y"}),
        client.post(reverse("chat:delete_prompt", args=[prompt.pk])),
        client.get(reverse("chat:pick_prompt"), {"saved": prompt.pk}),
        client.get(reverse("chat:pick_prompt"), {"saved": "9" * 30}),
    ):
        assert answer.status_code == 404
    assert FOX not in client.get(f"/?prompt={prompt.pk}").content.decode()
    assert FOX not in client.get(reverse("chat:prompts")).content.decode()


def test_the_page_takes_as_many_questions_for_fifty_as_for_one(client, alice, catalogue, django_assert_num_queries):
    client.force_login(alice)
    for number in range(3):
        save_prompt(user=alice, name=f"Fox {number}", text="a")
    client.get(reverse("chat:prompts"))
    with django_assert_num_queries(5):
        client.get(reverse("chat:prompts"))
