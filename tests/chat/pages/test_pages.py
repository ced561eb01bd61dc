"""The chat pages: sending, double clicks, bad input, other people's things."""

from uuid import uuid4

import pytest
from django.urls import reverse
from kombu.exceptions import OperationalError

from billing.models import Hold, Wallet
from chat.models import Conversation, Message
from inference.generations import endings, requesting
from inference.generations.parameters import Parameters
from inference.models import CatalogueModel, Generation, GenerationState
from inference.prompting.prompts import RawText
from tests.support.cast import at_once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def conversation(client, alice, send, worker):
    """A conversation of alice with one finished exchange."""
    client.force_login(alice)
    send("What is a fox?")
    worker.serve(Generation.objects.get().model_id)
    return Conversation.objects.get()


def nothing_happened():
    assert Message.objects.count() == Conversation.objects.count() == Generation.objects.count() == 0
    assert Hold.objects.count() == 0


def test_nobody_gets_in_without_log_in(client, catalogue):
    for name, args in (("chat:conversation", [uuid4()]), ("chat:events", [uuid4()])):
        response = client.get(reverse(name, args=args))
        assert (response.status_code, response["Location"].partition("?")[0]) == (302, "/accounts/login/")
    assert client.post(reverse("chat:send_new")).status_code == 302


def test_a_message_opens_a_conversation_and_its_answer_is_kept(client, alice, conversation):
    page = client.get(conversation.get_absolute_url()).content.decode()
    generation = Generation.objects.select_related("hold").get()
    assert conversation.title == "What is a fox?"
    assert "The quick brown fox jumps over" in page
    assert f'data-charged-microcredits="{generation.hold.charged_microcredits}"' in page
    assert generation.hold.charged_microcredits == generation.prompt_tokens * 20 + 6 * 40


def test_the_next_message_sees_the_conversation(client, conversation, send, worker):
    first = Generation.objects.get()
    response = send("And a dog?", to=conversation, htmx=True)
    assert response.status_code == 200
    second = Generation.objects.exclude(pk=first.pk).get()
    assert second.prompt_tokens > first.prompt_tokens + 10
    fragment = response.content.decode()
    assert f'sse-connect="/g/{second.pk}/events/"' in fragment
    assert 'id="send"' in fragment
    assert "data-stop" in fragment
    assert 'id="purse"' in fragment


def test_a_double_click_sends_once(client, alice, send):
    client.force_login(alice)
    key = uuid4()
    first, second = send(key=key), send(key=key)
    assert first["Location"] == second["Location"]
    assert Generation.objects.count() == 1


@pytest.mark.parametrize("is_new", [True, False])
def test_a_double_click_at_the_same_moment_sends_once(client, conversation, send, faults, is_new):
    key, before = uuid4(), Generation.objects.count()
    responses = at_once(5, lambda _n: send("Twice?", key=key, to=None if is_new else conversation))
    assert {response.status_code for response in responses} == {302}
    assert len({response["Location"] for response in responses}) == 1
    assert Generation.objects.count() == before + 1
    assert faults() == []


def test_the_same_form_with_another_message_is_refused(client, alice, send):
    client.force_login(alice)
    key = uuid4()
    send("One", key=key)
    assert send("Two", key=key).status_code == 409
    assert Generation.objects.count() == 1


def test_one_answer_at_a_time_in_a_conversation(client, conversation, send):
    send("First", to=conversation)
    response = send("Second, from another tab", to=conversation)
    assert response.status_code == 409
    assert "still being written" in response.content.decode()
    assert "Second, from another tab" in response.content.decode()  # the draft is kept
    assert Generation.objects.count() == 2


@pytest.mark.parametrize("htmx", [True, False])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text": ""}, "Write something"),
        ({"text": "   \n"}, "Write something"),
        ({"text": "x" * 300_000}, "300,000 characters"),
        ({"text": "word " * 9000}, "tokens too long"),
        ({"text": "\x07\x00"}, "Write something"),
        ({"text": "hi", "model": "gpt-99"}, "no such model"),
        ({"text": "hi", "model": ""}, "Choose a model"),
        ({"text": "hi", "model": "gemma-3-12b"}, "not offered here"),
        ({"text": "hi", "max_tokens": "-5"}, "greater than or equal to 1"),
        ({"text": "hi", "max_tokens": "lots"}, "whole number"),
        ({"text": "hi", "idempotency_key": "nonsense"}, "Reload the page"),
    ],
)
def test_bad_input_says_so_and_changes_nothing(client, alice, send, faults, fields, message, htmx):
    client.force_login(alice)
    data = {"idempotency_key": uuid4(), "model": "gemma-3-270m", **fields}
    response = client.post(reverse("chat:send_new"), data, headers={"HX-Request": "true"} if htmx else {})
    assert response.status_code in (422, 503)
    assert message in response.content.decode()
    nothing_happened()
    assert faults() == []


def test_a_broke_customer_is_told_what_is_missing_and_keeps_the_draft(client, bob, send):
    client.force_login(bob)
    response = send("My long thought")
    assert response.status_code == 402
    page = response.content.decode()
    assert "You have 0.00 credits free" in page
    assert "My long thought" in page
    assert reverse("billing:buy") in page  # the top-up page is one click away
    nothing_happened()


def test_a_model_nobody_has_priced_cannot_be_asked(client, alice, send):
    CatalogueModel.objects.create(
        key="unpriced", name="X", source="x", context_tokens=9000, max_completion_tokens=9, unavailable_reason=""
    )
    client.force_login(alice)
    response = send("Hello", model="unpriced")
    assert response.status_code in (409, 503)
    nothing_happened()


def test_a_queue_that_is_down_costs_nothing_keeps_the_draft_and_leaves_no_message(
    client, alice, conversation, send, monkeypatch, faults
):
    def refuse(_model_key):
        raise OperationalError("Connection refused")

    balance = Wallet.objects.get(user=alice).balance_microcredits
    key = uuid4()
    with monkeypatch.context() as broken:
        broken.setattr(requesting, "send_ticket", refuse)
        for to in (None, conversation, conversation):
            response = send("Are you there?", to=to, key=key if to else None)
            assert response.status_code == 503
            assert "Nothing was charged" in response.content.decode()
    assert Conversation.objects.count() == 1
    assert Message.objects.count() == 2
    wallet = Wallet.objects.get(user=alice)
    assert (wallet.balance_microcredits, wallet.held_microcredits) == (balance, 0)
    assert faults() == []
    assert send("Are you there?", to=conversation, key=key).status_code == 302  # the same form works again
    assert Message.objects.count() == 4


def test_too_many_answers_at_once_are_refused_and_the_draft_is_kept(client, alice, send, settings):
    settings.MAX_LIVE_GENERATIONS = 1
    client.force_login(alice)
    send("One")
    response = send("Two at once")
    assert response.status_code == 429
    assert "Two at once" in response.content.decode()
    assert Generation.objects.count() == 1


def test_an_answer_of_an_api_client_is_no_page_of_anybody(client, alice, catalogue):
    generation = requesting.request_generation(
        user=alice,
        model=catalogue,
        prompt=RawText("Hello"),
        parameters=Parameters(),
        idempotency_key="api:1",
        inputs_hash="test",
    )
    client.force_login(alice)
    assert client.post(reverse("chat:stop", args=[generation.pk])).status_code == 404
    assert client.get(reverse("chat:events", args=[generation.pk])).status_code == 404


def test_charlie_gets_404_for_everything_of_alice(client, conversation, charlie, send):
    answer = Message.objects.get(role="assistant")
    client.force_login(charlie)
    assert client.get(conversation.get_absolute_url()).status_code == 404
    assert send("Mine now", to=conversation).status_code == 404
    assert client.get(reverse("chat:events", args=[answer.generation_id])).status_code == 404
    assert client.post(reverse("chat:stop", args=[answer.generation_id])).status_code == 404
    assert client.post(reverse("chat:retry", args=[answer.pk])).status_code == 404


def test_an_interrupted_answer_says_it_cost_nothing_and_can_be_retried_once(
    client, alice, conversation, send, worker, faults
):
    send("Fail please", to=conversation)
    failing = Generation.objects.latest("created_at")
    endings.fail_generation(generation_id=failing.pk, error="The machine that was answering stopped.", text="Half an")
    page = client.get(conversation.get_absolute_url()).content.decode()
    assert "It cost nothing." in page
    assert "Half an" in page
    answer, key = Message.objects.get(generation=failing), uuid4()
    for _ in range(2):
        assert client.post(reverse("chat:retry", args=[answer.pk]), {"idempotency_key": key}).status_code == 302
    again = Generation.objects.latest("created_at")
    assert Generation.objects.count() == 3
    assert again.prompt_tokens == failing.prompt_tokens
    worker.serve(again.model_id)
    assert Message.objects.get(generation=again).text.startswith("The quick")
    assert faults() == []


def test_a_failed_answer_with_a_later_question_is_retried_and_the_later_one_is_kept(
    client, conversation, send, worker, faults
):
    """Its new answer once stood at the end, and what the model saw lacked the good answer to the later question."""
    send("Fail please", to=conversation)
    failed = Generation.objects.latest("created_at")
    endings.fail_generation(generation_id=failed.pk, error="The machine that was answering stopped.")
    retry = reverse("chat:retry", args=[Message.objects.get(generation=failed).pk])
    send("And now?", to=conversation)
    worker.serve(failed.model_id)
    later = Message.objects.latest("pk")
    assert retry in client.get(conversation.get_absolute_url()).content.decode()
    branch = client.post(retry, {"idempotency_key": uuid4()}, headers={"HX-Request": "true"}).content.decode()
    assert "And now?" not in branch
    worker.serve(failed.model_id)
    assert "2 / 2" in client.get(conversation.get_absolute_url()).content.decode()
    again = client.post(reverse("chat:select", args=[later.pk]), headers={"HX-Request": "true"}).content.decode()
    assert "1 / 2" in again
    assert "And now?" in again
    send("And then?", to=conversation)
    asked = Generation.objects.latest("created_at")
    assert asked.prompt_tokens > later.generation.prompt_tokens
    assert faults() == []


def test_stop_from_the_page_answers_at_once(client, conversation, send):
    send("Go on", to=conversation)
    generation = Generation.objects.latest("created_at")
    url = reverse("chat:stop", args=[generation.pk])
    assert client.post(url, headers={"HX-Request": "true"}).status_code == 204
    generation.refresh_from_db()
    assert generation.state == GenerationState.CANCELLED
    assert client.post(url).status_code == 302
    assert client.get(url).status_code == 405


def test_pages_ask_few_questions_however_long_the_conversation_is(
    client, conversation, send, worker, django_assert_max_num_queries
):
    with django_assert_max_num_queries(12):
        client.get(conversation.get_absolute_url())
    for n in range(3):
        send(f"More {n}", to=conversation)
        worker.serve(Generation.objects.latest("created_at").model_id)
    first = reverse("chat:retry", args=[conversation.messages.filter(role="assistant")[0].pk])
    client.post(first, {"idempotency_key": uuid4()})
    with django_assert_max_num_queries(12):
        client.get(conversation.get_absolute_url())
    with django_assert_max_num_queries(10):
        client.get(reverse("chat:home"))


def test_what_a_customer_writes_is_shown_as_text(client, alice, send):
    client.force_login(alice)
    response = send("<script>alert(1)</script>")
    page = client.get(response["Location"]).content.decode()
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_pages_allow_no_inline_script_and_no_other_host(client, conversation):
    policy = client.get(conversation.get_absolute_url())["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy


def test_a_long_first_line_makes_a_short_title(client, alice, send):
    client.force_login(alice)
    send("word " * 60 + "\nsecond line")
    title = Conversation.objects.get().title
    assert len(title) <= 80
    assert title.endswith("word…")


def test_the_estimate_says_the_usual_and_the_worst_case(client, conversation, django_assert_max_num_queries):
    fields = {"text": "And a dog?", "model": "gemma-3-270m", "idempotency_key": uuid4()}
    with django_assert_max_num_queries(10):
        response = client.post(reverse("chat:estimate", args=[conversation.pk]), fields)
    usual, most = response.content.decode().strip().removeprefix("about ").split(" credits, at most ")
    assert 0 < float(usual) < float(most) < 0.03
    assert Generation.objects.count() == 1


@pytest.mark.parametrize("fields", [{"text": ""}, {"text": "hi", "model": "gpt-99"}, {"text": "word " * 9000}])
def test_there_is_no_estimate_for_what_cannot_be_sent(client, alice, fields):
    client.force_login(alice)
    data = {"model": "gemma-3-270m", "idempotency_key": uuid4(), **fields}
    response = client.post(reverse("chat:estimate_new"), data)
    assert response.status_code == 200
    assert "You pay for tokens" in response.content.decode()
    assert "at most" not in response.content.decode()


def test_charlie_gets_no_estimate_for_a_conversation_of_alice(client, conversation, charlie):
    client.force_login(charlie)
    assert client.post(reverse("chat:estimate", args=[conversation.pk])).status_code == 404
