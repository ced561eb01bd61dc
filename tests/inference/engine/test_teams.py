"""An engine that idles keeps no threads of OpenMP: with them, the other engines of its process are half as fast."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]

# In a process of its own, where two threads compute: those of the tests compute with one.
SCRIPT = """
import sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import psutil, torch
from inference.engine.base import EngineRequest, Sampling
from inference.engine.batching import BatchingEngine
from inference.engine.cpu.teams import IdleWait

def native_threads():
    return psutil.Process().num_threads() - threading.active_count()

def wait_until(condition):
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    assert condition(), native_threads()

def compute():
    torch.ones(2_000_000).exp().sum()

assert torch.get_num_threads() == 2
with ThreadPoolExecutor(1) as thread:
    before = thread.submit(native_threads).result()
    for _ in range(2):
        thread.submit(compute).result()
        assert native_threads() == before + 1
        thread.submit(IdleWait().wait, 0.01).result()
        wait_until(lambda: native_threads() == before)

engine = BatchingEngine(Path(sys.argv[1]), precision="float32")
wait_until(lambda: native_threads() == before)
had = []
engine._manager.model.register_forward_pre_hook(lambda *_: compute() or had.append(native_threads()))
for number in range(2):
    engine.write(EngineRequest(f"idle-{number}", [5, 6], 5, Sampling(temperature=0.0)), lambda _delta: None)
    wait_until(lambda: native_threads() == before)
assert max(had) == before + 1, had
engine.close()
"""


def test_an_engine_that_idles_has_no_team_of_threads(tiny_models):
    folder = str(tiny_models["LlamaForCausalLM"])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, folder],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
