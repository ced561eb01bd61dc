"""Finds a customer by what staff have at hand: part of an address, an id, a receipt, a payment, an answer, a key.

What is written says by its form what it can be, and only that is looked up, by an index. Nothing reads a whole table.
"""

import re
from uuid import UUID

from accounts.api_keys import MARK
from accounts.models import ApiKey, User
from billing.for_staff import finding
from inference.models import Generation

MOST_FOUND = 20
LEAST_OF_AN_ADDRESS = 3  # characters
LEAST_OF_A_KEY = 4
LARGEST_ID = 2**63 - 1
_ANSWER_OF_THE_API = re.compile(r"^(chatcmpl|cmpl)-", re.IGNORECASE)


def find_customers(text: str) -> list[User]:
    """The customers whom this text may mean, by address, at most MOST_FOUND. Empty for what has no known form."""
    text = text.replace("\x00", "").strip()[:200]
    user_ids = set(_ids_of(text)) if text else set()
    return list(User.objects.filter(pk__in=user_ids).order_by("email")[:MOST_FOUND])


def _ids_of(text: str) -> list[int]:
    """The ids of the users whom the text means, by its form."""
    number = _as_uuid(text)
    if number is not None:
        answers = Generation.objects.filter(pk=number).values_list("user_id", flat=True)
        return [*answers, *finding.find_by_id(number)]
    if text.startswith(MARK):
        return _owners_of_key(text)
    if finding.RECEIPT.fullmatch(text):
        return finding.find_by_receipt(text)
    if text.isascii() and text.isdecimal() and int(text) <= LARGEST_ID:
        return list(User.objects.filter(pk=int(text)).values_list("pk", flat=True))
    return [*_with_address(text), *finding.find_by_reference(text, most=MOST_FOUND)]


def _as_uuid(text: str) -> UUID | None:
    try:
        return UUID(_ANSWER_OF_THE_API.sub("", text))
    except ValueError:
        return None


def _owners_of_key(text: str) -> list[int]:
    """Whose key begins so. Of a whole key only the part that names it is looked at, never the secret."""
    prefix = text.removeprefix(MARK).partition("_")[0]
    if len(prefix) < LEAST_OF_A_KEY:
        return []
    keys = ApiKey.objects.filter(prefix__startswith=prefix).values_list("user_id", flat=True)[:MOST_FOUND]
    replaced = ApiKey.objects.filter(replaced_prefix__startswith=prefix).values_list("user_id", flat=True)
    return [*keys, *replaced[:MOST_FOUND]]


def _with_address(text: str) -> list[int]:
    """The users with exactly this address; without one, those whose address begins so."""
    address = text.lower()
    exact = list(User.objects.filter(email=address).values_list("pk", flat=True))
    if exact or len(address) < LEAST_OF_AN_ADDRESS:
        return exact
    begins = User.objects.filter(email__startswith=address).order_by("email")
    return list(begins.values_list("pk", flat=True)[:MOST_FOUND])
