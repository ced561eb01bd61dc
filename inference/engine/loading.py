"""Loads the model of a folder onto the GPU, or the CPU if there is none, in the chosen precision."""

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

PAGE_TOKENS = 512  # as the small models' sliding window, so that a request's window is in one page of memory
PROMPT_TOKENS_PER_STEP = 512  # a longer prompt is read in several steps, so that other requests are not held up
CPU_REQUESTS = 32
FROM_FILES_ALONE = {"local_files_only": True, "trust_remote_code": False}  # no downloads, no code of the model


def load_language_model(folder: Path, precision: Precision = "auto") -> Any:
    """Load the causal language model of a folder. If the model also reads images or sound, these parts are left out.

    Raises EngineError when the device cannot compute in `precision`, CheckpointError for a folder that is incomplete or
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
    """Load a model. Raises CheckpointError if a weight is missing, which the library would fill with random numbers."""
    model, report = model_class.from_pretrained(
        folder,
        use_safetensors=True,
        attn_implementation="sdpa",  # else the configuration may name one that must be downloaded
        output_loading_info=True,
        **FROM_FILES_ALONE,
        **options,
    )
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(f"Its weights are not whole: {missing[0]} is missing.")
    return model


def gpu_options(precision: Precision) -> dict[str, Any]:
    """The options of `from_pretrained` on a GPU. accelerate spreads a model over several GPUs if one is too small.

    int8 and int4 need the optional package bitsandbytes. Raises EngineError if it is not installed.
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
    """The options of the library's batching, with a cache of `cache_tokens` tokens.

    On a GPU the library chooses flash attention (if installed), CUDA graphs and asynchronous batching by itself. On a
    CPU it cannot choose the options by itself.
    """
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
    """Switch to our attention for CPUs. Call it after the batcher was made, which accepts only the library's names."""
    model.set_attn_implementation(CPU_ATTENTION)


def _cpu_type(precision: Precision) -> torch.dtype:
    """The type in which to load the weights. For int8 it is bfloat16, which needs half the memory while loading."""
    return torch.float32 if precision == "float32" else torch.bfloat16
