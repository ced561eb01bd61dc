"""The list of conversations and its menus in a real browser: by pointer, by keyboard, without JavaScript."""

from datetime import timedelta

import pytest
from django.utils import timezone

from chat.models import Conversation
from inference.catalogue import DEMO_KEY
from inference.models import CatalogueModel
from tests.chat.pages.browser import path_of
from tests.e2e.looking import look_at
from tests.support.cast import answered_talk

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume"),  # WhiteNoise's files, as in config.asgi
]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESKTOP = {"viewport": {"width": 1440, "height": 900}}
ROW = ".side .list li:has-text('Packing')"


@pytest.fixture
def talk(alice):
    """Alice's answered conversation, and a list of others, some pinned and some long ago."""
    model = CatalogueModel.objects.get(key=DEMO_KEY)
    titles = {"Invoice wording": 90, "Packing for Iceland in March": 0, "A gentle no": 1, "Rent letter": 40, "עברית": 0}
    for title, days in titles.items():
        made = Conversation.objects.create(user=alice, model=model, title=title)
        Conversation.objects.filter(pk=made.pk).update(updated_at=timezone.now() - timedelta(days=days))
    Conversation.objects.filter(title="Invoice wording").update(pinned_at=timezone.now())
    talk = answered_talk(alice, model)
    Conversation.objects.filter(pk=talk.pk).update(title="When do savings double?")
    return talk


def open_list(page):
    """Show the side bar, which is a drawer on phones."""
    if page.viewport_size["width"] < 700:
        page.click(".top .opener")
    page.wait_for_selector(".side .rooms")


def choose(page, row, entry):
    page.hover(row)
    page.click(f"{row} summary")
    page.click(f"{row} .pop >> text='{entry}'")


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_list_its_menu_and_its_notice_are_whole_and_accessible(open_page, alice, talk, size, scheme):
    page = open_page(alice, path_of(talk), color_scheme=scheme, **size)
    name = f"{scheme}-{size['viewport']['width']}"
    open_list(page)
    page.click(f"{ROW} summary", force=True)
    page.wait_for_selector(f"{ROW} .pop")
    page.wait_for_timeout(250)  # the menu fades in, and colours are compared
    look_at(page, f"list-menu-{name}")
    page.click(f"{ROW} .pop >> text='Rename'")
    page.fill(".rename [name=title]", "x" * 500)
    page.press(".rename [name=title]", "Enter")
    page.wait_for_selector(".rename .errorlist:has-text('This one has 500')")
    look_at(page, f"list-rename-{name}")
    page.press(".rename [name=title]", "Escape")
    choose(page, ROW, "Delete")
    page.wait_for_selector(".toast:has-text('Deleted')")
    page.wait_for_timeout(250)
    look_at(page, f"list-deleted-{name}")
    page.click(".toast >> text='Undo'")
    page.wait_for_selector(".toast:has-text('Back in the list')")
    open_list(page)  # a click beside the drawer closed it
    page.wait_for_selector(ROW)
    for path in ("/conversations/", "/conversations/archive/", f"{path_of(talk)}rename/"):
        page.goto(path)
        look_at(page, f"list{path.replace('/', '-')[:20]}{name}")


def test_all_of_it_by_keyboard_and_the_focus_stays_in_the_list(open_page, alice, talk):
    page = open_page(alice, path_of(talk), **DESKTOP)
    focused = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"
    page.focus(f"{ROW} summary")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{ROW} .pop")
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    page.wait_for_selector(f"{ROW} .pop", state="hidden")
    assert page.evaluate(focused) == "More for Packing for Iceland in March"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(".rename [name=title]:focus")
    page.keyboard.press("Control+A")
    page.keyboard.type("Packing light")
    page.keyboard.press("Enter")
    page.wait_for_selector(".room:focus:has-text('Packing light')")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # pins
    page.wait_for_selector(".list[aria-label=Pinned] .room:focus:has-text('Packing light')")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator(f"{ROW} .pop >> text='Delete'").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".toast:has-text('Deleted')")
    page.wait_for_function("() => document.activeElement.matches('.room')")
    assert Conversation.objects.get(title="Packing light").deleted_at


def test_a_click_elsewhere_closes_a_menu_and_another_menu_closes_it_too(open_page, alice, talk):
    page = open_page(alice, path_of(talk), **DESKTOP)
    page.hover(ROW)
    page.click(f"{ROW} summary")
    page.click("#talk")
    assert page.locator(".row-menu[open]").count() == 0
    page.hover(ROW)
    page.click(f"{ROW} summary")
    page.locator(".side .list li:has-text('Rent letter') summary").evaluate("summary => summary.click()")
    assert page.locator(".row-menu[open]").count() == 1


def test_a_new_title_shows_on_the_page_of_the_conversation_too(open_page, alice, talk):
    page = open_page(alice, path_of(talk), **DESKTOP)
    choose(page, ".list li:has([aria-current])", "Rename")
    page.fill(".rename [name=title]", "Seventy-two")
    page.press(".rename [name=title]", "Enter")
    page.wait_for_selector(".top h1:has-text('Seventy-two')")
    page.wait_for_function("() => document.title.startsWith('Seventy-two')")


def test_deleting_the_open_conversation_leads_to_a_new_chat_and_back(open_page, alice, talk):
    page = open_page(alice, path_of(talk), **DESKTOP)
    choose(page, ".list li:has([aria-current])", "Delete")
    page.wait_for_url(f"**/?deleted={talk.pk}")
    page.click(".toast >> text='Undo'")
    page.wait_for_selector(".list .room:has-text('When do savings')")
    assert Conversation.objects.get(pk=talk.pk).deleted_at is None


def test_older_conversations_join_the_list(open_page, alice, talk):
    for number in range(70):
        Conversation.objects.create(user=alice, model=talk.model, title=f"Talk {number}")
    page = open_page(alice, path_of(talk), **DESKTOP)
    assert page.locator(".side .list li").count() == 51
    page.click(".side .more")
    page.wait_for_function("() => document.querySelectorAll('.side .list li').length === 76")
    assert page.locator(".side .more").count() == 0
    last = page.locator(".side .list li").last
    last.hover()
    last.locator("summary").click()
    box = last.locator(".pop").bounding_box()
    assert box["y"] >= 0
    assert box["y"] + box["height"] <= 900


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_everything_works_without_javascript(open_page, alice, talk, size):
    page = open_page(alice, path_of(talk), java_script_enabled=False, **size)
    for entry, then in (("Rename", None), ("Pin", "Unpin"), ("Unpin", "Pin"), ("Archive", None)):
        open_list(page)
        row = ".side .list li:has(> [aria-current])"
        page.locator(f"{row} summary").focus()
        page.keyboard.press("Enter")
        page.click(f"{row} .pop >> text='{entry}'")
        if entry == "Rename":
            page.fill("#title", "Doubling")
            page.click("main >> text='Save'")
            page.wait_for_selector(".top h1:has-text('Doubling')")
        if then:
            assert page.locator(f"{row} .pop button:has-text('{then}')").count() == 1
    assert page.locator(".toast:has-text('Archived')").count() == 1
    page.click(".toast >> text='Undo'")
    open_list(page)
    page.locator(f"{row} summary").focus()
    page.keyboard.press("Enter")
    page.click(f"{row} .pop >> text='Delete'")
    page.wait_for_selector(".toast:has-text('Deleted')")
    page.click(".toast >> text='Undo'")
    page.wait_for_selector(".top h1:has-text('Doubling')")
