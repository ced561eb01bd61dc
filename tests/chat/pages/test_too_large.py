"""A form that is larger than one may be is answered with a page in words, in a real browser."""

import pytest
from django.urls import reverse

from accounts.models import User
from tests.chat.pages.browser import path_of
from tests.e2e.looking import look_at
from tests.support.cast import answered_talk

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume"),  # WhiteNoise's files, as in config.asgi
]


@pytest.fixture
def file_of(tmp_path):
    """Call it for a file of so many megabytes."""

    def write(megabytes):
        file = tmp_path / "chats.json"
        file.write_bytes(b" " * megabytes * 1_000_000)
        return file

    return write


@pytest.mark.parametrize("megabytes", [3, 40])
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
def test_a_file_that_is_too_large_is_refused_with_a_page_in_words(open_page, alice, file_of, megabytes, width, scheme):
    size = {"viewport": {"width": width, "height": 844}, "color_scheme": scheme}
    page = open_page(alice, reverse("chat:import"), java_script_enabled=False, **size)
    page.set_input_files("#file", file_of(megabytes))
    with page.expect_response(lambda answer: answer.request.method == "POST") as answer:
        page.click(".sheet .go")
    assert answer.value.status == 413
    page.wait_for_selector("h1:has-text('That was too large')")
    assert "At most 2.4\xa0MB can be sent at once." in page.inner_text("main")
    page.click("text=Back to the page")
    page.wait_for_selector("h1:has-text('Import')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible_and_in_the_language_of_the_customer(open_page, alice, file_of, scheme):
    User.objects.filter(pk=alice.pk).update(language="de")
    page = open_page(alice, reverse("chat:import"), viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page.set_input_files("#file", file_of(3))
    page.eval_on_selector(".sheet", "form => form.submit()")  # as without the script that refuses the file
    page.wait_for_selector("h1:has-text('Das war zu groß')")
    look_at(page, f"too-large-{scheme}")


@pytest.mark.parametrize("has_script", [True, False])
def test_a_prompt_that_is_too_large_is_refused_and_not_lost(open_page, alice, catalogue, has_script):
    page = open_page(alice, path_of(answered_talk(alice, catalogue)), java_script_enabled=has_script)
    page.eval_on_selector("#prompt", "(field, text) => field.value = text.repeat(280_000)", "\u4e2d")
    page.click("#composer .go")
    if has_script:
        page.wait_for_selector("#compose-error:has-text('at once')")
    else:
        page.wait_for_selector("h1:has-text('That was too large')")
        page.go_back()
    assert page.eval_on_selector("#prompt", "field => field.value.length") == 280_000
