"""Begins, follows and sends one answer to a client of OpenAI's API, plain or streamed.

What becomes of the answer when the client leaves is told in `inference.completions`.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.http import HttpRequest, JsonResponse, StreamingHttpResponse

from billing.charges import Charge
from inference.api_access import admit
from inference.completions import Question, begin_answer, give_up, hand_over
from inference.following import do_afterwards, follow_to_end, in_own_thread, read_patiently
from inference.hot_path import read_answer
from inference.models import Generation
from inference.openai_errors import demand_answer, from_service
from inference.openai_format import DONE, Shape, event
from inference.openai_requests import Call, parse_body
from inference.retries import ClientRetries, read_idempotency_key
from inference.services import Caller, fail_generation, hash_inputs

logger = logging.getLogger(__name__)

BEGIN_TO_STREAM_SECONDS = 10  # from our answer to the first read of it, which is milliseconds unless nobody reads
Reader = Callable[[dict[str, Any]], Call]


@dataclass(slots=True)
class Visit:
    """One request for an answer, and the generation that it began or found."""

    question: Question
    generation: Generation
    is_streamed: bool
    includes_usage: bool
    retries: ClientRetries
    attempt: int | None
    is_read: bool = False


async def answer(request: HttpRequest, shape: Shape, read: Reader) -> JsonResponse | StreamingHttpResponse:
    """The whole answer, or a stream of it. Raises what `openai_errors.from_service` knows."""
    came_at = time.monotonic()
    begun = asyncio.ensure_future(in_own_thread(lambda: _begin(request, read)))
    try:
        visit = await asyncio.shield(begun)
        if not visit.is_streamed:
            return await _whole(shape, visit)
    except asyncio.CancelledError:
        _leave(begun, came_at)
        raise
    do_afterwards(_leave_if_never_read(visit, begun, came_at))
    return StreamingHttpResponse(
        _stream(shape, visit, begun, came_at),
        content_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},  # nginx passes it on as it comes
    )


def _begin(request: HttpRequest, read: Reader) -> Visit:
    """Who asks for what, and the answer begun. What can be refused without the ledger is refused first."""
    user, api_key = admit(request)
    body = parse_body(request.body)
    call, retries = read(body), ClientRetries.of(request)
    key = read_idempotency_key(request)
    attempt = None if key else retries.attempt
    question = Question(
        model=call.model,
        prompt=call.prompt,
        parameters=call.parameters,
        inputs_hash=hash_inputs(request.path, _canonical(body)),
        idempotency_key=key,
        caller=Caller(api_key=api_key, end_user=call.end_user, attempt=attempt, cache=call.cache),
    )
    generation = begin_answer(user=user, question=question)
    return Visit(question, generation, call.is_streamed, call.includes_usage, retries, attempt)


def _leave(begun: "asyncio.Future[Visit]", came_at: float) -> None:
    """See to the answer, which may only just be in the making. Never waits, since its task is cancelled."""
    do_afterwards(_see_to(begun, time.monotonic() - came_at))


async def _leave_if_never_read(visit: Visit, begun: "asyncio.Future[Visit]", came_at: float) -> None:
    """A client may leave between our answer and its first byte: then nobody else would notice."""
    await asyncio.sleep(BEGIN_TO_STREAM_SECONDS)
    if not visit.is_read:
        _leave(begun, came_at)


async def _see_to(begun: "asyncio.Future[Visit]", waited_seconds: float) -> None:
    try:
        visit = await begun
    except Exception as error:  # noqa: BLE001  nobody is left to be told
        logger.info("a client left a request that was refused: %s", error)
        return
    if visit.question.idempotency_key:
        return
    if visit.attempt is not None:
        await asyncio.sleep(visit.retries.grace_seconds(waited_seconds))
    await in_own_thread(partial(give_up, generation_id=visit.generation.pk, attempt=visit.attempt))


async def _whole(shape: Shape, visit: Visit) -> JsonResponse:
    ended, charge = await _to_its_end(visit.generation)
    demand_answer(ended)
    await _hand_over(visit)
    return JsonResponse(shape.whole(ended, charge))


async def _stream(shape: Shape, visit: Visit, begun: "asyncio.Future[Visit]", came_at: float) -> AsyncGenerator[bytes]:
    """The events of one answer. A failure in mid-stream is an event too: the status has been sent."""
    visit.is_read, generation = True, visit.generation
    more = {"usage": None} if visit.includes_usage else {}
    try:
        await _hand_over(visit)
        for chunk in shape.opening(generation):
            yield event(chunk | more)
        sent = ""
        async with aclosing(_texts(generation)) as texts:
            async for text in texts:
                sent += text
                yield event(shape.piece(generation, text) | more)
        ended, charge = await read_patiently(partial(read_answer, generation.pk))
        demand_answer(ended)
        last = [shape.closing(ended) | more]
        if ended.text.startswith(sent) and ended.text != sent:  # the relay was away for a while
            last.insert(0, shape.piece(generation, ended.text[len(sent) :]) | more)
        if visit.includes_usage:
            last.append(shape.usage(ended, charge))
        yield b"".join([*map(event, last), DONE])
    except (asyncio.CancelledError, GeneratorExit):
        _leave(begun, came_at)
        raise
    except Exception as error:  # noqa: BLE001  the client is told, in the only way left
        yield event(await _tell(error, generation))


async def _tell(error: Exception, generation: Generation) -> dict[str, Any]:
    """What to say in mid-stream. What is our own mistake also ends the answer, at no cost."""
    try:
        return from_service(error).body
    except Exception as unknown:
        logger.exception("the stream of generation %s broke", generation.pk)
        message = "Something went wrong on our side."
        await in_own_thread(partial(fail_generation, generation_id=generation.pk, error=message))
        return {"error": {"message": message, "type": "server_error", "param": None, "code": type(unknown).__name__}}


async def _texts(generation: Generation) -> AsyncGenerator[str]:
    """The text as it grows; nothing for an answer that had ended before, which is read whole afterwards."""
    if not generation.is_live:
        return
    async with aclosing(follow_to_end(generation.pk)) as batches:
        async for chunks in batches:
            text = "".join(chunk.text for chunk in chunks).replace("\x00", "")  # PostgreSQL keeps no NUL either
            if text:
                yield text


async def _to_its_end(generation: Generation) -> tuple[Generation, Charge]:
    if generation.is_live:
        async with aclosing(follow_to_end(generation.pk)) as batches:
            async for _chunks in batches:
                pass
    return await read_patiently(partial(read_answer, generation.pk))


async def _hand_over(visit: Visit) -> None:
    attempt, visit.attempt = visit.attempt, None
    if attempt is not None:
        await in_own_thread(partial(hand_over, generation_id=visit.generation.pk, attempt=attempt))


def _canonical(body: dict[str, Any]) -> str:
    """The same text for the same JSON, however it was spelt."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"))
