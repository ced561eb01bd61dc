"""Begins, follows and sends one answer to a client of OpenAI's API, whole or as a stream.

`inference.generations.client_requests` says what happens to an answer when its client leaves.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from django.http import HttpRequest, JsonResponse, StreamingHttpResponse

from billing.ledger.charges import Charge
from core.rest.idempotency import mark_replay, read_idempotency_key
from inference.generations.client_requests import Question, begin_answer, fail_overtaken, give_up
from inference.generations.client_retries import grace_seconds, note_refusal, read_attempt, was_refused
from inference.generations.deliveries import LOST, deliverer, fail_delivery
from inference.generations.endings import fail_generation
from inference.generations.logprobs import read_logprobs
from inference.generations.parameters import Caller
from inference.generations.requesting import hash_inputs
from inference.generations.statements import read_answer
from inference.models import Generation
from inference.openai.access import admit
from inference.openai.errors import OpenAIError, demand_answer, from_service
from inference.openai.format import DONE, Shape, event
from inference.openai.requests import Call, parse_body
from inference.relay.following import do_afterwards, follow_to_end, in_own_thread, is_live, read_patiently

logger = logging.getLogger(__name__)

OUR_MISTAKE = "Something went wrong on our side."
BEGIN_TO_STREAM_SECONDS = 10  # a stream that is not read for so long has no client; normally it takes milliseconds
Reader = Callable[[dict[str, Any]], Call]


@dataclass(slots=True)
class Visit:
    """One request for an answer, and the generation that it began or found."""

    question: Question
    generation: Generation
    is_streamed: bool
    includes_usage: bool
    attempt: int | None
    never_read: asyncio.TimerHandle | None = None
    has_text: bool = False  # whether some text was sent; then official clients do not retry


async def answer(request: HttpRequest, shape: Shape, read: Reader) -> JsonResponse | StreamingHttpResponse:
    """The HTTP response: the whole answer, or a stream of it. Raises the errors that `errors.from_service` converts."""
    begun = asyncio.ensure_future(in_own_thread(lambda: _begin(request, read)))
    try:
        visit = await asyncio.shield(begun)
        if not visit.is_streamed:
            return await _whole(shape, visit)
    except asyncio.CancelledError:
        _leave(begun)
        raise
    except Exception as error:
        if begun.done() and begun.exception() is None:
            await _see_to_failure(begun.result(), error)
        await in_own_thread(partial(note_refusal, request))
        raise
    # If the client leaves before the first read of the stream, only this timer notices.
    visit.never_read = asyncio.get_running_loop().call_later(BEGIN_TO_STREAM_SECONDS, _leave, begun)
    return StreamingHttpResponse(
        _stream(shape, visit, begun),
        content_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},  # nginx passes it on as it comes
    )


def _begin(request: HttpRequest, read: Reader) -> Visit:
    """Read the request and begin its answer. Checks that need no ledger come first."""
    user, api_key = admit(request)
    body = parse_body(request.body)
    call = read(body)
    key = read_idempotency_key(request)
    attempt = None if key else read_attempt(request)
    question = Question(
        model=call.model,
        prompt=call.prompt,
        parameters=call.parameters,
        inputs_hash=hash_inputs(request.path, _canonical(body)),
        idempotency_key=key,
        caller=Caller(api_key=api_key, end_user=call.end_user, attempt=attempt, cache=call.cache),
        follows_attempt=attempt is not None and attempt > 0 and not was_refused(request, attempt),
        is_delivered_here=not key,
    )
    generation = begin_answer(user=user, question=question)
    if generation.is_repeated:
        mark_replay(request)
    request.token_usage = generation.token_usage  # type: ignore[attr-defined]  # for the headers: core.rest.middleware
    return Visit(question, generation, call.is_streamed, call.includes_usage, attempt)


def _leave(begun: "asyncio.Future[Visit]") -> None:
    """Handle the leaving of the client, whose answer may still be beginning. Never waits, as its task is cancelled."""
    do_afterwards(_see_to(begun, left_before=not begun.done()))


async def _see_to(begun: "asyncio.Future[Visit]", *, left_before: bool) -> None:
    """End the answer of a client that left, unless a retry can still fetch it or takes it over.

    `left_before`: the client left before its answer was begun, so that a retry may have begun another one first.
    """
    try:
        visit = await begun
    except Exception as error:  # noqa: BLE001  nobody is left to be told
        logger.info("a client left a request that was refused: %s", error)
        return
    if visit.question.idempotency_key:
        return
    generation_id, attempt = visit.generation.pk, visit.attempt
    if attempt is not None and not visit.has_text:
        overtaken = partial(fail_overtaken, generation_id=generation_id, attempt=attempt)
        if left_before and await in_own_thread(overtaken):
            return
        await asyncio.sleep(grace_seconds(attempt))
        if left_before and await in_own_thread(overtaken):
            return
    await in_own_thread(partial(give_up, generation_id=generation_id, attempt=attempt))


async def _whole(shape: Shape, visit: Visit) -> JsonResponse:
    ended, charge = await _to_its_end(visit.generation)
    demand_answer(ended)
    await _demand_ours(visit)
    return _Delivered(shape.whole(ended, charge, visit.question.wanted_tokens), generation_id=ended.pk)


class _Delivered(JsonResponse):
    """A whole answer. Django closes it when it was sent, or when the client has left."""

    def __init__(self, body: dict[str, Any], *, generation_id: UUID) -> None:
        super().__init__(body)
        self._generation_id = generation_id

    def close(self) -> None:
        """Note that the answer was handed over."""
        super().close()
        deliverer().close(self._generation_id)


async def _demand_ours(visit: Visit) -> None:
    """Raise OpenAIError if this process paused for so long that the answer counts as lost, and so costs nothing."""
    if visit.question.is_delivered_here:
        generation_id = visit.generation.pk
        if not await in_own_thread(partial(deliverer().may_hand_over, generation_id)):
            raise OpenAIError(500, "generation_failed", LOST, kind="server_error", may_retry=True)


async def _stream(shape: Shape, visit: Visit, begun: "asyncio.Future[Visit]") -> AsyncGenerator[bytes]:
    """The events of one answer. A failure in mid-stream becomes an event too, since the status was sent already."""
    generation = visit.generation
    if visit.never_read is not None:
        visit.never_read.cancel()  # also drops its reference to the request
    more = {"usage": None} if visit.includes_usage else {}
    try:
        for chunk in shape.opening(generation):
            yield event(chunk | more)
        sent, told = "", 0
        async with aclosing(_texts(generation)) as texts:
            async for text, logprobs in texts:
                sent += text
                told += len(logprobs)
                visit.has_text = True
                yield event(shape.piece(generation, text, logprobs) | more)
        ended, charge = await read_patiently(partial(_read_ended, generation.pk))
        demand_answer(ended)
        await _demand_ours(visit)
        last = [shape.closing(ended, charge, visit.question.wanted_tokens) | more]
        rest, logprobs = ended.text[len(sent) :], (ended.logprobs or [])[told:]
        if ended.text.startswith(sent) and (rest or logprobs):  # the relay was away for a while
            last.insert(0, shape.piece(generation, rest, logprobs) | more)
        if visit.includes_usage:
            last.append(shape.usage(ended, charge))
        yield b"".join([*map(event, last), DONE])
        deliverer().close(generation.pk)
    except (asyncio.CancelledError, GeneratorExit):
        _leave(begun)
        raise
    except Exception as error:  # noqa: BLE001  an event is the only way left to tell the client
        yield event(await _tell(error, visit))


async def _tell(error: Exception, visit: Visit) -> dict[str, Any]:
    """The event for an error in mid-stream. Also ends the answer."""
    await _see_to_failure(visit, error)
    try:
        return from_service(error).body
    except Exception as unknown:
        logger.exception("the stream of generation %s broke", visit.generation.pk)
        code = type(unknown).__name__
        return {"error": {"message": OUR_MISTAKE, "type": "server_error", "param": None, "code": code}}


async def _see_to_failure(visit: Visit, error: Exception) -> None:
    """Close an answer whose client gets an error instead. If the error is ours, it costs nothing, or is refunded."""
    generation_id = visit.generation.pk
    try:
        if not isinstance(error, OpenAIError):
            fail = fail_delivery if visit.question.is_delivered_here else fail_generation
            await in_own_thread(partial(fail, generation_id=generation_id, error=OUR_MISTAKE))
        deliverer().close(generation_id)
    except Exception:
        logger.exception("generation %s could not be ended", generation_id)
        deliverer().leave_to_the_sweeper(generation_id)


async def _texts(generation: Generation) -> AsyncGenerator[tuple[str, list[Any]]]:
    """The new text of a live answer as it comes, with the log probabilities of its tokens.

    Yields nothing for an answer that has ended: its text is read from its row later.
    """
    if not generation.is_live:
        return
    told = 0
    logprobs: list[Any] = []
    async with aclosing(follow_to_end(generation.pk, is_live)) as batches:
        async for chunks, _found in batches:
            text = "".join(chunk.text for chunk in chunks).replace("\x00", "")  # PostgreSQL keeps no NUL either
            for chunk in chunks:
                new = chunk.logprobs_after(told)
                told += len(new)
                logprobs += new
            if text:
                yield text, logprobs
                logprobs = []


async def _to_its_end(generation: Generation) -> tuple[Generation, Charge]:
    if generation.is_live:
        async with aclosing(follow_to_end(generation.pk, is_live)) as batches:
            async for _batch in batches:
                pass
    return await read_patiently(partial(_read_ended, generation.pk))


def _read_ended(generation_id: UUID) -> tuple[Generation, Charge]:
    """The ended answer and its charge, with its log probabilities if the request asked for them."""
    ended, charge = read_answer(generation_id)
    if ended.top_logprobs is not None:
        ended.logprobs = read_logprobs(generation_id)
    return ended, charge


def _canonical(body: dict[str, Any]) -> str:
    """The body as JSON text that does not depend on the order of members or on blanks."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"))
