"""Questions in a browser, and the receipts of their answers."""

STORY_TELLER = "smollm2-135m"  # writes on and on; Gemma 3 270M answers in a few words
PROMPT_PRICE, COMPLETION_PRICE = 10, 20  # of the story-teller
LONG = "Write a very long story about a cat that learned to count all the stars in the sky."


def ask(page, text, model=STORY_TELLER):
    """Send a prompt and wait for the answer's article; return its locator."""
    before = page.locator(".turn.it").count()
    page.click("#composer .pick")
    page.check(f"[name=model][value={model}]", force=True)
    page.keyboard.press("Escape")
    page.fill("#prompt", text)
    page.press("#prompt", "Enter")
    page.wait_for_function("n => document.querySelectorAll('.turn.it').length > n", arg=before)
    return page.locator(".turn.it").last


def shown(answer):
    """The answer's text as it stands on the page."""
    return answer.locator(".said").inner_text()


def receipt_of(answer):
    """(prompt tokens, completion tokens, charged microcredits) from the receipt under the answer."""
    receipt = answer.locator(".receipt")
    receipt.wait_for()
    names = ("prompt-tokens", "completion-tokens", "charged-microcredits")
    return tuple(int(receipt.get_attribute(f"data-{name}")) for name in names)


NEW_CUSTOMER = """
import json
from accounts.models import User
from allauth.account.models import EmailAddress
user = User.objects.create_user({email!r}, "buys-a-package-2026")
EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
print(json.dumps({{"email": user.email, "password": "buys-a-package-2026"}}))
"""
