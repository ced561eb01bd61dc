"""Tiny random checkpoints, whole as the hub has them: of the architectures that are served, each by its class."""

import json
import shutil
from pathlib import Path
from typing import Any

from tests.inference.prompting.templates import CHATML, GEMMA, SYSTEM_IN_LAST_TURN

TEXT = Path(__file__).parents[2] / "benchmarks" / "quality.txt"
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8_192,
    "initializer_range": 0.2,  # large enough for the best token to be clearly the best
}
GEMMA_SHAPE = {
    "vocab_size": 262_144,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "sliding_window": 32,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}
# What is peculiar to each: heads of their own, a window, scaled positions, more rows in the embedding than tokens.
OTHERS: dict[str, dict[str, Any]] = {
    "LlamaForCausalLM": {"vocab_size": 1_024, "tie_word_embeddings": False, "rope_parameters": LLAMA3_ROPE},
    "MistralForCausalLM": {"vocab_size": 1_024, "sliding_window": 32, "tie_word_embeddings": False},
    "Qwen2ForCausalLM": {"vocab_size": 1_088, "tie_word_embeddings": True},
    "Qwen3ForCausalLM": {"vocab_size": 1_088, "head_dim": 32, "tie_word_embeddings": False, "attention_bias": True},
}
# Architectures whose layers stay the library's own in 8 bits too; not among the models that most tests run on.
FURTHER: dict[str, dict[str, Any]] = {
    "GraniteForCausalLM": {"model_type": "granite", "embedding_multiplier": 3.0, "attention_multiplier": 0.2},
    "Olmo2ForCausalLM": {"model_type": "olmo2"},
    "Phi3ForCausalLM": {"model_type": "phi3"},
    "SmolLM3ForCausalLM": {"model_type": "smollm3", "no_rope_layers": [1, 1, 0]},
}
TOKENS = 1_024


def make_tiny_model(name: str, folder: Path, demo_folder: Path) -> None:
    """Save the model of this class into the folder, with tokenizer, template and what its authors say of sampling."""
    import torch

    torch.manual_seed(0)
    make_model(name).save_pretrained(folder)
    if name in OTHERS or name in FURTHER:
        _write_tokenizer(folder, CHATML if name != "MistralForCausalLM" else SYSTEM_IN_LAST_TURN)
        _write_generation(folder, {"eos_token_id": [2, 0], "do_sample": True, "temperature": 0.7, "top_k": 20})
    else:
        shutil.copy(demo_folder / "tokenizer.json", folder)
        shutil.copy(demo_folder / "tokenizer_config.json", folder)
        (folder / "chat_template.jinja").write_text(GEMMA)
        _write_generation(folder, {"eos_token_id": [1, 106], "do_sample": True, "top_k": 64, "top_p": 0.95})


def make_model(name: str) -> Any:
    """The model of this class with random weights, biases and norms, which are all zeros or ones when made."""
    import transformers

    if name == "Gemma3ForCausalLM":
        return transformers.Gemma3ForCausalLM(transformers.Gemma3TextConfig(**GEMMA_SHAPE))
    if name == "Gemma3ForConditionalGeneration":
        config = transformers.Gemma3Config(text_config=GEMMA_SHAPE, vision_config=VISION, mm_tokens_per_image=4)
        return transformers.Gemma3ForConditionalGeneration(config)
    model_class = getattr(transformers, name)
    own = OTHERS.get(name) or {"vocab_size": TOKENS, "pad_token_id": 0} | FURTHER[name]
    options = {label: value for label, value in own.items() if label != "model_type"}
    model = model_class(model_class.config_class(bos_token_id=1, eos_token_id=2, **SHAPE, **options))
    for label, parameter in model.named_parameters():
        if label.endswith("bias") or "norm" in label:
            parameter.data += 0.3 * parameter.data.clone().normal_()
    return model


def _write_generation(folder: Path, content: dict[str, Any]) -> None:
    (folder / "generation_config.json").write_text(json.dumps(content))


def _write_tokenizer(folder: Path, template: str) -> None:
    """A byte-level one of 1,024 tokens; id 0 is a control token as in SmolLM2."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    controls = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS, initial_alphabet=alphabet, special_tokens=controls, show_progress=False
    )
    tokenizer.train([str(TEXT)], trainer)
    assert tokenizer.get_vocab_size() == TOKENS
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": "<|im_start|>",
                "eos_token": "<|im_end|>",
                "unk_token": "<|endoftext|>",
                "clean_up_tokenization_spaces": False,
            }
        )
    )
    (folder / "chat_template.jinja").write_text(template)
