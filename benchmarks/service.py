"""The whole service under load: HTTP, Celery, Redis, PostgreSQL and the ledger, as `startup.py` runs them.

    python -m benchmarks.service [--quick] [--json FILE] [--only billed,streams,engine]

Three questions, each asked of a stack that is started for it on a free port and taken down afterwards:

- billed: short answers (20 tokens) a second, plain and streamed, each held, settled and saved. The engine is a fake one
  that writes 30 tokens a second for each request, so all that is measured is ours.
- streams: 500 customers who each read a stream of that engine at once: how many streams arrive whole and in order.
- engine: the demo model behind the service beside the bare engine in a process of its own: tokens a second of 32
  clients, and how much later the first token comes to a single client.

The clients are coroutines of this process on connections that stay open, so they use the same two cores.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from benchmarks.service_stack import MODEL, ROOT, Answer, Client, running

SHORT_TOKENS = 20
PACED = "benchmarks.engines.ThirtyTokensASecond"
CLIENTS, ASKED_EACH, NEW_TOKENS, FIRSTS = 32, 3, 64, 11
# The question in Gemma's turn format: <bos>, a user's turn, and the beginning of the model's.
QUESTION_IDS = [2, 105, 2364, 107, 11355, 563, 506, 7217, 3730, 236881, 106, 107, 105, 4368, 107]


def measure_billed(seconds: float, clients: int) -> dict[str, Any]:
    """Short answers a second, plain and streamed, in `seconds` each after a warm-up."""
    results: dict[str, Any] = {}
    with running(INFERENCE_ENGINE=PACED, GPU_WORKER_THREADS=str(clients + 8)) as stack:
        keys = stack.make_customers(clients)
        for name, stream in (("plain", False), ("streamed", True)):
            asyncio.run(_keep_asking(stack.runtime["web_url"], keys, stream=stream, seconds=5))
            before = stack.processor_seconds()
            answers, taken = asyncio.run(_keep_asking(stack.runtime["web_url"], keys, stream=stream, seconds=seconds))
            after = stack.processor_seconds()
            good = [answer for answer in answers if answer.status == 200 and _is_whole(answer)]
            results[f"billed_rps_{name}"] = len(good) / taken
            results[f"billed_failed_{name}"] = len(answers) - len(good)
            results[f"billed_ms_p50_{name}"] = statistics.median(answer.seconds for answer in good) * 1000
            results[f"billed_processor_ms_{name}"] = {
                process: 1000 * (after[process] - before.get(process, 0)) / max(1, len(answers)) for process in after
            }
    return results


async def _keep_asking(url: str, keys: list[str], *, stream: bool, seconds: float) -> tuple[list[Answer], float]:
    """Every client asks again as soon as it has its answer, until the time is over."""
    answers: list[Answer] = []
    began = time.perf_counter()

    async def go_on(key: str) -> None:
        client = Client(url, key)
        while time.perf_counter() - began < seconds:
            answers.append(await client.ask(tokens=SHORT_TOKENS, stream=stream))
        await client.close()

    await asyncio.gather(*map(go_on, keys))
    return answers, time.perf_counter() - began


def measure_streams(tokens: int, customers: int = 500) -> dict[str, Any]:
    """How many of `customers` streams of `tokens` tokens, all at once, arrive whole and in order, and how fast."""
    variables = {"INFERENCE_ENGINE": PACED, "GPU_WORKER_THREADS": str(customers + 12)}
    with running(**variables) as stack:
        keys = stack.make_customers(customers)
        url = stack.runtime["web_url"]
        asyncio.run(_ask_once(url, keys[:50], tokens=SHORT_TOKENS))
        before, began = stack.processor_seconds(), time.perf_counter()
        answers = asyncio.run(_ask_once(url, keys, tokens=tokens))
        taken, after = time.perf_counter() - began, stack.processor_seconds()
    good = [answer for answer in answers if answer.status == 200 and _is_whole(answer)]
    rates = [tokens / answer.seconds for answer in good]
    return {
        "streams_held": len(good),
        "streams_asked": customers,
        "streams_tokens_each": tokens,
        "streams_tokens_per_second_each_p50": statistics.median(rates) if rates else 0.0,
        "streams_first_token_ms_p50": statistics.median(answer.first_seconds for answer in answers) * 1000,
        "streams_processor_share": {name: (after[name] - before.get(name, 0)) / taken for name in after},
    }


async def _ask_once(url: str, keys: list[str], *, tokens: int, times: int = 1) -> list[Answer]:
    """Every client asks for a stream, `times` times in a row."""

    async def ask(key: str) -> list[Answer]:
        client = Client(url, key)
        answers = [await client.ask(tokens=tokens, stream=True, seconds=600) for _time in range(times)]
        await client.close()
        return answers

    return [answer for answers in await asyncio.gather(*map(ask, keys)) for answer in answers]


def measure_engine(rounds: int) -> dict[str, Any]:
    """The demo model behind the service and bare, in turn; medians of the rounds, and of their ratios.

    The machine itself grows faster and slower by minutes: a round of the service is compared with the mean of the bare
    engine's before and after it.
    """
    found: dict[str, list[float]] = {"service": [], "engine": [], "service_first": [], "engine_first": []}
    variables = {"INFERENCE_ENGINE": "benchmarks.engines.EndlessEngine", "PRELOAD_MODELS": MODEL}
    with running(WEB_WORKERS="1", **variables) as stack, BareEngine() as bare:  # one: as `startup.py` has it by itself
        keys = stack.make_customers(CLIENTS)
        url = stack.runtime["web_url"]
        asyncio.run(_ask_once(url, keys, tokens=8, times=3))  # plans, connections, caches

        def ask_service() -> None:
            began = time.perf_counter()
            answers = asyncio.run(_ask_once(url, keys, tokens=NEW_TOKENS, times=ASKED_EACH))
            tokens = sum(read(answer)[1]["completion_tokens"] for answer in answers)
            found["service"].append(tokens / (time.perf_counter() - began))
            firsts = asyncio.run(_ask_once(url, keys[:1], tokens=8, times=FIRSTS))
            found["service_first"].append(statistics.median(answer.first_seconds for answer in firsts))

        def ask_engine() -> None:
            rate, first_seconds = bare.measure()
            found["engine"].append(rate)
            found["engine_first"].append(first_seconds)

        ask_engine()
        for _round in range(rounds):
            ask_service()
            ask_engine()
            print(f"  {found['service'][-1]:.0f} of {statistics.mean(found['engine'][-2:]):.0f} tokens/s", flush=True)
    middle = {name: statistics.median(values) for name, values in found.items()}
    alone = map(statistics.mean, pairwise(found["engine"]))
    ratios = [ours / engine for ours, engine in zip(found["service"], alone, strict=True)]
    return {
        "service_tokens_per_second_32": middle["service"],
        "engine_tokens_per_second_32": middle["engine"],
        "service_vs_engine_32": statistics.median(ratios),
        "service_vs_engine_32_rounds": ratios,
        "ttft_service_ms_p50": middle["service_first"] * 1000,
        "ttft_engine_ms_p50": middle["engine_first"] * 1000,
        "ttft_added_ms_p50": (middle["service_first"] - middle["engine_first"]) * 1000,
    }


class BareEngine:
    """The engine alone in a process of its own, which waits while the service is measured."""

    def __enter__(self) -> Self:
        code = "from benchmarks import service; service.serve_bare_engine()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.communicate()  # the end of its input is its end

    def measure(self) -> tuple[float, float]:
        """Tokens a second of all clients, and seconds until one client's first text."""
        assert self._process.stdin
        assert self._process.stdout
        print("go", file=self._process.stdin, flush=True)
        rate, first_seconds = json.loads(self._process.stdout.readline())
        return rate, first_seconds


def serve_bare_engine() -> None:
    """For each line that comes, print what the engine alone does with the same questions: 32 threads, then one."""
    from concurrent.futures import ThreadPoolExecutor

    from benchmarks.engines import EndlessEngine
    from inference.engine.base import Delta, EngineRequest, Sampling

    engine = EndlessEngine(Path.home() / ".cache/tally/models" / MODEL)

    def ask(name: str, tokens: int) -> float:
        """Seconds until the first text; the answer is read to its end."""
        began, first = time.perf_counter(), 0.0
        request = EngineRequest(name, QUESTION_IDS, tokens, Sampling(0.8, 0.95, 64, seed=hash(name) % 2**31))

        def note(delta: Delta) -> None:
            nonlocal first
            first = first or (time.perf_counter() - began if delta.text else 0.0)

        engine.write(request, note)
        return first

    def ask_in_a_row(client: int) -> None:
        for number in range(ASKED_EACH):
            ask(f"{client}-{number}", NEW_TOKENS)

    ask("warm-up", 8)
    for _line in sys.stdin:
        began = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(ask_in_a_row, range(CLIENTS)))
        rate = CLIENTS * ASKED_EACH * NEW_TOKENS / (time.perf_counter() - began)
        print(json.dumps([rate, statistics.median(ask(f"first-{number}", 8) for number in range(FIRSTS))]), flush=True)
    engine.close()


def _is_whole(answer: Answer) -> bool:
    """Whether it has as many words as it was billed for, in the fake engine's order."""
    text, usage = read(answer)
    words = text.split()
    return usage.get("completion_tokens") == len(words) and words == expected_words(len(words))


def read(answer: Answer) -> tuple[str, dict[str, Any]]:
    """The text and the usage of an answer, plain or streamed."""
    if not answer.chunks:
        whole = json.loads(answer.body)
        return whole["choices"][0]["message"]["content"], whole["usage"]
    text, usage = [], {}
    for line in b"".join(answer.chunks).split(b"\n\n"):
        content = line.removeprefix(b"data: ")
        if content.startswith(b"{"):
            event = json.loads(content)
            usage = event.get("usage") or usage
            text += [choice["delta"].get("content", "") for choice in event.get("choices", [])]
    return "".join(text), usage


def expected_words(count: int) -> list[str]:
    """What the fake engine writes."""
    from inference.engine.fake import WORDS

    return [WORDS[number % len(WORDS)] for number in range(count)]


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="shorter rounds")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", default="billed,streams,engine", help="which questions, with commas between")
    parser.add_argument("--clients", type=int, default=192, help="of `billed`; an answer takes 0.67 s to write")
    arguments = parser.parse_args()
    asked = arguments.only.split(",")
    results: dict[str, Any] = {}
    if "billed" in asked:
        results |= measure_billed(8 if arguments.quick else 30, arguments.clients)
    if "streams" in asked:
        results |= measure_streams(150 if arguments.quick else 600)
    if "engine" in asked:
        results |= measure_engine(2 if arguments.quick else 9)
    for name, value in results.items():
        print(f"{name:28} {value if not isinstance(value, float) else round(value, 3)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
