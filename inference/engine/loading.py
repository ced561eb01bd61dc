"""Loads a model's folder for the device that is there, in the precision that was chosen."""

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
)
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from inference.engine.base import EngineError
from inference.engine.checkpoint import CheckpointError, read_checkpoint
from inference.engine.cpu.attention import CPU_ATTENTION
from inference.engine.cpu.int8_layers import to_int8
from inference.engine.precision import Precision, choose_precision
from inference.engine.scheduling import SCHEDULER

PAGE_TOKENS = 512  # the small models' sliding window: a request's window then lies in one page, close together
PROMPT_TOKENS_PER_STEP = 512  # a longer prompt is read over several steps, so that others go on writing
CPU_REQUESTS = 32
FROM_FILES_ALONE = {"local_files_only": True, "trust_remote_code": False}  # nothing is downloaded, nothing is run


def load_language_model(folder: Path, precision: Precision = "auto") -> Any:
    """Load the causal language model of a folder; of one with images or sound too, only the language model.

    Raises EngineError when the device cannot compute in `precision`, CheckpointError for a folder that is not whole or
    not served.
    """
    read_checkpoint(folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = choose_precision(precision, device)
    options = gpu_options(precision) if device == "cuda" else {"dtype": _cpu_type(precision)}
    if AutoConfig.from_pretrained(folder, **FROM_FILES_ALONE).model_type == "gemma3":
        whole = _load(Gemma3ForConditionalGeneration, folder, options)
        with torch.device("meta"):
            language = Gemma3ForCausalLM(whole.config.text_config)
        language.model, language.lm_head = whole.model.language_model, whole.lm_head
    else:
        language = _load(AutoModelForCausalLM, folder, options)
    if device == "cpu" and precision == "int8":
        to_int8(language)
    return language.eval()


def _load(model_class: Any, folder: Path, options: dict[str, Any]) -> Any:
    """Raises CheckpointError where a weight is missing: the library makes it up from random numbers."""
    model, report = model_class.from_pretrained(
        folder,
        use_safetensors=True,
        attn_implementation="sdpa",  # a configuration may name one that has to be downloaded
        output_loading_info=True,
        **FROM_FILES_ALONE,
        **options,
    )
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(f"Its weights are not whole: {missing[0]} is missing.")
    return model


def gpu_options(precision: Precision) -> dict[str, Any]:
    """What `from_pretrained` gets on a GPU. accelerate spreads a model over several GPUs when one is too small.

    int8 and int4 go through bitsandbytes, which an operator installs where it is wanted.
    """
    options: dict[str, Any] = {"dtype": torch.bfloat16, "device_map": "auto"}
    if precision == "float32":
        options["dtype"] = torch.float32
    elif precision in ("int8", "int4"):
        try:
            import_module("bitsandbytes")
        except ImportError as error:
            raise EngineError(f"{precision} on a GPU needs the package bitsandbytes.") from error
        options["quantization_config"] = (
            BitsAndBytesConfig(load_in_8bit=True)
            if precision == "int8"
            else BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
        )
    return options


def batching_options(device: str, cache_tokens: int) -> ContinuousBatchingConfig:
    """How to batch, with a cache of `cache_tokens` tokens. On a GPU the library picks flash attention where installed,
    CUDA graphs and asynchronous batching by itself; on a CPU it can infer none of it."""
    if device == "cuda":
        options = ContinuousBatchingConfig(scheduler_type=SCHEDULER)
        options.num_blocks = max(1, cache_tokens // options.page_size)
        return options
    return ContinuousBatchingConfig(
        scheduler_type=SCHEDULER,
        page_size=PAGE_TOKENS,
        num_blocks=max(1, cache_tokens // PAGE_TOKENS),
        max_batch_tokens=PROMPT_TOKENS_PER_STEP,
        max_requests_per_batch=CPU_REQUESTS,
        max_memory_percent=0.9,  # of what is free; the library's 0.6 refuses to start on a machine of 8 GB
    )


def use_cpu_attention(model: Any) -> None:
    """Switch to this engine's attention. Only after the batcher was made: it knows the library's own names alone."""
    model.set_attn_implementation(CPU_ATTENTION)


def _cpu_type(precision: Precision) -> torch.dtype:
    """int8 starts from the checkpoint's own bfloat16, which needs half the memory while loading."""
    return torch.float32 if precision == "float32" else torch.bfloat16
