"""System prompts that customers keep: each name once, at most so many, and nobody else's."""

import threading

import pytest
from django.db import IntegrityError, connection, transaction

from accounts.closing import account_closing
from chat import saved_prompts
from chat.models import PROMPT_NAME_LENGTH, SavedPrompt
from chat.saved_prompts import NameTaken, TooManySaved, change_prompt, delete_prompt, save_prompt
from inference.prompting.prompts import InvalidPrompt

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_prompt_is_kept_changed_and_deleted(alice):
    prompt = save_prompt(user=alice, name=" The  fox ", text="Be a fox.\n")
    assert (prompt.name, prompt.text) == ("The fox", "Be a fox.")
    change_prompt(prompt=prompt, name="The wolf", text="Be a wolf.")
    assert SavedPrompt.objects.values_list("name", "text").get() == ("The wolf", "Be a wolf.")
    delete_prompt(prompt=prompt)
    assert not SavedPrompt.objects.exists()


def test_a_name_is_taken_once_by_each_customer(alice, charlie):
    save_prompt(user=alice, name="Fox", text="a")
    save_prompt(user=charlie, name="Fox", text="b")
    wolf = save_prompt(user=alice, name="Wolf", text="c")
    with pytest.raises(NameTaken):
        save_prompt(user=alice, name="Fox", text="d")
    with pytest.raises(NameTaken):
        change_prompt(prompt=wolf, name="Fox", text="d")
    assert SavedPrompt.objects.filter(user=alice).count() == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [("", "a"), (" \x00", "a"), ("x" * (PROMPT_NAME_LENGTH + 1), "a"), ("Fox", " \n"), ("Fox", "x" * 1_000_001)],
)
def test_what_says_nothing_or_too_much_is_refused(alice, name, text):
    with pytest.raises(InvalidPrompt):
        save_prompt(user=alice, name=name, text=text)
    assert not SavedPrompt.objects.exists()


@pytest.mark.parametrize("fields", [{"name": ""}, {"text": ""}])
def test_the_database_keeps_none_that_says_nothing(alice, fields):
    with pytest.raises(IntegrityError), transaction.atomic():
        SavedPrompt.objects.create(**{"user": alice, "name": "Fox", "text": "a"} | fields)


def test_two_tabs_do_not_pass_the_limit_together(alice, monkeypatch):
    monkeypatch.setattr(saved_prompts, "MOST_SAVED", 3)
    refused = []

    def keep(number):
        try:
            save_prompt(user=alice, name=f"Fox {number}", text="a")
        except TooManySaved as error:
            refused.append(str(error))
        finally:
            connection.close()

    threads = [threading.Thread(target=keep, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert SavedPrompt.objects.count() == 3
    assert refused == ["You can keep 3 system prompts. Delete another one first."] * 5


def test_a_closed_account_keeps_none(alice):
    save_prompt(user=alice, name="Fox", text="a")
    account_closing.send(sender=None, user=alice)
    assert not SavedPrompt.objects.exists()
