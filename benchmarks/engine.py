"""Tokens a second of the engine, beside plain `generate` and llama.cpp on the same weights in the same run.

    python -m benchmarks.engine [--quick] [--json FILE] [--png FILE] [--model DIR [--gguf FILE]] [--growth 1000]
    python -m benchmarks.engine --random-weights CONFIG [--json FILE]

Every answer has 64 new tokens after a prompt of 20, drawn with temperature 0.8, top-p 0.95 and top-k 64 unless it says
greedy. The contenders take turns for a few rounds, and the best round of each counts, so that a moment's load on the
machine spoils none. Both demo models are measured, or the one of --model. llama.cpp takes part where
LLAMA_BATCHED_BENCH or the PATH leads to its `llama-batched-bench` (its numbers are without sampling: that program draws
nothing) and the GGUF file that the weights came from is here. What CONFIG may be, `benchmarks.random_weights` says.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch
import transformers

from benchmarks.llama import llama_cpp
from benchmarks.perplexity import perplexity
from benchmarks.random_weights import (
    CACHE_TOKENS,
    NotEnoughRoom,
    bytes_read_a_step,
    gpu_memory_speed,
    random_checkpoint,
)
from inference.engine.base import Delta, EngineRequest, Sampling
from inference.engine.batching import BatchingEngine
from inference.engine.loading import load_language_model
from inference.engine.precision import Precision, choose_precision
from inference.weights.memory import read_architecture

NEW_TOKENS, PROMPT_TOKENS, BATCH = 64, 20, 32
COUNTS = (1, 8, 32, 128)  # requests at once, with random weights
MODELS = Path.home() / ".cache/tally/models"
DEMOS = ("gemma-3-270m", "smollm2-135m")
SAMPLED = Sampling(temperature=0.8, top_p=0.95, top_k=64)
GREEDY = Sampling(temperature=0.0)
_numbers = count()
T = TypeVar("T")


def main() -> None:
    """Measure, print the tables, write the JSON and the pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round, no perplexities, no other precisions")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--png", type=Path, help="a picture a model: its name is put before the ending")
    parser.add_argument("--model", type=Path, help="a model's folder, in the place of both demo models")
    parser.add_argument("--gguf", type=Path, help="the same weights for llama.cpp")
    parser.add_argument("--growth", type=int, default=0, help="answers in a row after which memory is compared")
    parser.add_argument("--random-weights", metavar="CONFIG", help="a published model's shapes filled with noise")
    arguments = parser.parse_args()
    results: dict[str, Any] = {"machine": describe_machine()}
    if arguments.random_weights:
        results["random_weights"] = _measure_or_say_why_not(arguments.random_weights)
        _print_shares(results["random_weights"])
    else:
        folders = [arguments.model] if arguments.model else [MODELS / key for key in DEMOS]
        results["models"] = {
            folder.name: measure(folder, arguments.gguf, quick=arguments.quick, growth=arguments.growth)
            for folder in folders
        }
    print(json.dumps(results, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    if arguments.png:
        for name, model in results.get("models", {}).items():
            draw(model, results["machine"], arguments.png.with_stem(f"{arguments.png.stem}-{name}"))


def measure(folder: Path, gguf: Path | None, *, quick: bool, growth: int) -> dict[str, Any]:
    """Rates of one model in tokens a second, their ratios, and perplexities."""
    rates = _take_turns(folder, gguf, rounds=1 if quick else 3)
    best_plain = max(rates["generate_float32_1"] or 0.0, rates["generate_bfloat16_1"] or 0.0)
    results: dict[str, Any] = {
        "tokens_per_second": rates,
        "batch32_vs_sequential": _ratio(rates["engine_32"], best_plain),
        "sampled_vs_greedy_32": _ratio(rates["engine_32"], rates["engine_greedy_32"]),
        "vs_llama_cpp_32": _ratio(rates["engine_32"], rates["llama_cpp_32"]),
        "vs_llama_cpp_1": _ratio(rates["engine_1"], rates["llama_cpp_1"]),
    }
    with _engine(folder) as engine:
        results["shared_prefix_speedup"] = _prefix_speedup(engine)
        results |= _stop_delay(engine)
        if growth:
            results["growth"] = _growth(engine, growth)
    if not quick:
        results["engine_by_precision"] = {name: _rates_of(folder, name) for name in ("float32", "bfloat16")}
        results["perplexity"] = {
            name: _in_a_thread_that_ends(partial(perplexity, folder, name)) for name in ("float32", "bfloat16", "int8")
        }
        results["perplexity_int8_vs_float32"] = results["perplexity"]["int8"] / results["perplexity"]["float32"]
    return results


def measure_random_weights(name: str) -> dict[str, Any]:
    """Rates of a published model's shapes at each of COUNTS, plain `generate`, and the limit of reading the weights.

    Raises NotEnoughRoom, ValueError.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = choose_precision("auto", device)
    speed = gpu_memory_speed() if device == "cuda" else _in_a_thread_that_ends(_memory_speed) * 1e9
    with random_checkpoint(name) as folder:
        read = bytes_read_a_step(read_architecture(folder), precision)
        plain = _generate_rate(folder, "bfloat16")
        with _engine(folder, cache_tokens=CACHE_TOKENS) as engine:
            rates = dict.fromkeys(COUNTS, 0.0)
            for _ in range(3 if device == "cuda" else 1):  # a GPU records a graph when it first meets a size of batch
                rates = {number: max(best, _answer(engine, number, SAMPLED)) for number, best in rates.items()}
    limits = {number: number * speed / read for number in COUNTS}
    return {
        "config": name,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "precision": precision,
        "bytes_read_a_step": read,
        "memory_bytes_a_second": speed,
        "generate_1": plain,
        "tokens_per_second": rates,
        "limit_tokens_per_second": limits,
        "share_of_limit": {number: rates[number] / limits[number] for number in COUNTS},
    }


def _print_shares(results: dict[str, Any]) -> None:
    read, speed = results["bytes_read_a_step"] / 1e9, results["memory_bytes_a_second"] / 1e9
    print(f"{results['config']} on {results['device']}, {results['precision']}: {read:.2f} GB a step, {speed:.0f} GB/s")
    print(f"{'requests':>8}{'tokens/s':>12}{'limit':>12}{'share':>8}{'generate':>12}")
    for number, rate in results["tokens_per_second"].items():
        limit, share = results["limit_tokens_per_second"][number], results["share_of_limit"][number]
        plain = f"{results['generate_1']:>12.1f}" if number == 1 else ""
        print(f"{number:>8}{rate:>12.1f}{limit:>12.1f}{share:>8.0%}{plain}")


def _measure_or_say_why_not(name: str) -> dict[str, Any]:
    try:
        return measure_random_weights(name)
    except (NotEnoughRoom, ValueError) as error:
        raise SystemExit(str(error)) from None


def describe_machine() -> dict[str, Any]:
    """Processor, memory and its speed, versions, and how busy the machine was: a busy one makes every figure wrong."""
    model = [
        line.split(":")[1].strip() for line in _read("/proc/cpuinfo").splitlines() if line.startswith("model name")
    ]
    return {
        "processor": model[0] if model else platform.processor(),
        "cores": os.cpu_count(),
        "instructions": [
            name
            for name in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")
            if name in _read("/proc/cpuinfo")
        ],
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "memory_read_gb_per_second": round(_in_a_thread_that_ends(_memory_speed), 1),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "others_busy_percent": psutil.cpu_percent(interval=2),
    }


def draw(results: dict[str, Any], machine: dict[str, Any], file: Path) -> None:
    """A bar for each contender at 1 and at 32."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    rates = {name: rate for name, rate in results["tokens_per_second"].items() if rate is not None}
    figure, axes = pyplot.subplots(figsize=(8, 0.5 * len(rates) + 1.2))
    bars = axes.barh(
        list(rates), list(rates.values()), color=["#2f6f4f" if "engine" in name else "#9aa5a0" for name in rates]
    )
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.invert_yaxis()
    axes.set_xlabel(f"tokens a second, {machine['cores']} cores")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, dpi=120)


def _take_turns(folder: Path, gguf: Path | None, rounds: int) -> dict[str, float | None]:
    """The best rate of each contender over `rounds`, each with two turns of the engine and of llama.cpp.

    A contender has the memory to itself: the plain models are gone before the engine is loaded.
    """
    best: dict[str, float | None] = {}
    options = {"prompt_tokens": PROMPT_TOKENS, "new_tokens": NEW_TOKENS, "batch": BATCH}
    with llama_cpp(folder.name, gguf, **options) as llama:
        for _ in range(rounds):
            turns: list[dict[str, float | None]] = [
                {f"generate_{name}_1": _generate_rate(folder, name) for name in ("float32", "bfloat16")}
            ]
            with _engine(folder) as engine:
                turns += [_engine_rates(engine) for _ in range(2)]
            turns += [dict(zip(("llama_cpp_1", "llama_cpp_32"), llama(), strict=True)) for _ in range(2)]
            for rates in turns:
                for name, rate in rates.items():
                    best[name] = rate if rate is None else max(rate, best.get(name) or 0.0)
                print({name: rate and round(rate, 1) for name, rate in rates.items()}, flush=True)
    return best


def _engine_rates(engine: BatchingEngine) -> dict[str, float | None]:
    return {
        "engine_1": _answer(engine, 1, SAMPLED),
        "engine_32": _answer(engine, BATCH, SAMPLED),
        "engine_greedy_32": _answer(engine, BATCH, GREEDY),
    }


@contextmanager
def _engine(folder: Path, precision: Precision = "auto", cache_tokens: int = 32_768) -> Iterator[BatchingEngine]:
    engine = BatchingEngine(folder, precision=precision, cache_tokens=cache_tokens, ignores_stop_tokens=True)
    try:
        _answer(engine, 2, SAMPLED)
        yield engine
    finally:
        engine.close()


def _prompt(number: int, tokens: int = PROMPT_TOKENS) -> list[int]:
    """Ids that every model measured here has."""
    return [2, *(1000 + (number * 7919 + place * 104_729) % 30_000 for place in range(tokens - 1))]


def _write(engine: BatchingEngine, request: EngineRequest) -> int:
    """Write one answer; returns how many tokens it has."""
    deltas: list[Delta] = []
    engine.write(request, deltas.append)
    return deltas[-1].completion_tokens


def _answer(engine: BatchingEngine, requests: int, sampling: Sampling) -> float:
    """Tokens a second of `requests` answers at once, their prompts' reading included."""

    def run(number: int) -> int:
        request = EngineRequest(
            f"bench-{next(_numbers)}",
            _prompt(number),
            NEW_TOKENS,
            Sampling(sampling.temperature, sampling.top_p, sampling.top_k, seed=number),
        )
        return _write(engine, request)

    started = time.perf_counter()
    with ThreadPoolExecutor(requests) as pool:
        tokens = sum(pool.map(run, range(requests)))
    return tokens / (time.perf_counter() - started)


def _generate_rate(folder: Path, precision: Precision) -> float:
    return _in_a_thread_that_ends(lambda: _generate_one(load_language_model(folder, precision)))


def _in_a_thread_that_ends(compute: Callable[[], T]) -> T:
    """What else computes here may leave no team of threads behind, or the engine's sleeps (`engine.batching`)."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(compute).result()


def _generate_one(model: Any) -> float:
    """Tokens a second of transformers' plain `generate`, one answer."""
    model.generation_config.eos_token_id = None
    started = time.perf_counter()
    model.generate(
        torch.tensor([_prompt(1)], device=model.device),
        do_sample=True,
        temperature=SAMPLED.temperature,
        top_p=SAMPLED.top_p,
        top_k=SAMPLED.top_k,
        min_new_tokens=NEW_TOKENS,
        max_new_tokens=NEW_TOKENS,
        pad_token_id=0,
    )
    return NEW_TOKENS / (time.perf_counter() - started)


def _rates_of(folder: Path, precision: Precision) -> dict[str, float]:
    with _engine(folder, precision) as engine:
        return {"1": _answer(engine, 1, SAMPLED), "32": _answer(engine, BATCH, SAMPLED)}


def _prefix_speedup(engine: BatchingEngine) -> float:
    """How much sooner the first token comes when 500 tokens of the prompt were just read for another request."""

    def first_token(prompt: list[int]) -> float:
        started = time.perf_counter()
        _write(engine, EngineRequest(f"bench-{next(_numbers)}", prompt, 1, GREEDY))
        return time.perf_counter() - started

    new = min(first_token([*_prompt(number, 500), 9]) for number in (71, 72, 73))
    return new / min(first_token([*_prompt(73, 500), number]) for number in (10, 11, 12))


def _stop_delay(engine: BatchingEngine, stops: int = 8) -> dict[str, float]:
    """Milliseconds from Stop until the slot of one of 32 answers is free, beside those between two tokens; medians."""
    names, moments, delays = [f"stop-{number}" for number in range(BATCH)], [], []

    def note(name: str, _delta: Delta) -> None:
        if name == names[-1]:
            moments.append(time.perf_counter())

    def run(name: str) -> None:
        engine.write(EngineRequest(name, _prompt(1), 5000, GREEDY), partial(note, name))

    with ThreadPoolExecutor(BATCH) as pool:
        running = [pool.submit(run, name) for name in names]
        while len(moments) < 20:
            time.sleep(0.01)
        active = engine._manager.batch_processor.scheduler.active_requests  # noqa: SLF001  who has a slot
        for name in names[:stops]:
            stopped_at = time.perf_counter()
            engine.cancel(name)
            while name in active:
                time.sleep(0.0005)
            delays.append(time.perf_counter() - stopped_at)
            time.sleep(0.05)
        for name in names:
            engine.cancel(name)
        for job in running:
            job.result()
    steps = [later - earlier for earlier, later in pairwise(moments)]
    return {"stop_ms_p50": statistics.median(delays) * 1000, "step_ms_p50": statistics.median(steps[5:]) * 1000}


def _growth(engine: BatchingEngine, requests: int) -> dict[str, float]:
    """By what share the process grows over `requests` short answers, after a first 100 that fill its buffers."""

    def run(number: int) -> None:
        _write(engine, EngineRequest(f"bench-{next(_numbers)}", _prompt(number), 4, SAMPLED))

    with ThreadPoolExecutor(BATCH) as pool:
        list(pool.map(run, range(100)))
        before = psutil.Process().memory_info().rss
        list(pool.map(run, range(requests)))
    after = psutil.Process().memory_info().rss
    return {"answers": requests, "before_mib": before / 2**20, "after_mib": after / 2**20, "share": after / before - 1}


def _memory_speed() -> float:
    """Gigabytes a second that the processor reads from memory."""
    numbers = torch.ones(64 * 2**20)
    best = 0.0
    for _ in range(5):
        started = time.perf_counter()
        numbers.sum()
        best = max(best, numbers.nbytes / (time.perf_counter() - started) / 1e9)
    return best


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours and theirs else None


def _read(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""


if __name__ == "__main__":
    main()
