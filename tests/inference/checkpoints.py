"""Model folders without weights: what the catalogue, the prompts and the admin read of a model."""

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from tests.inference.prompting.templates import CHATML

CONTROLS = ("<|im_start|>", "<|im_end|>", "<|pad|>")
CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
    "eos_token_id": 260,
}
GENERATION = {"eos_token_id": [257], "do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 20}


def make_checkpoint(
    folder: Path, *, config: dict[str, Any] | None = None, template: str = CHATML, **files: str | None
) -> Path:
    """A folder as the hub has it, its weights an empty file.

    `files` replaces the text of files, or removes them (None); a dot in a name is written as two underscores.
    """
    folder.mkdir(parents=True, exist_ok=True)
    make_tokenizer().save(str(folder / "tokenizer.json"))
    texts: dict[str, str | None] = {
        "config.json": json.dumps(CONFIG | (config or {})),
        "generation_config.json": json.dumps(GENERATION),
        "tokenizer_config.json": json.dumps({"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}),
        "chat_template.jinja": template or None,
        "model.safetensors": "",
    }
    for name, text in (texts | {name.replace("__", "."): text for name, text in files.items()}).items():
        if text is None:
            (folder / name).unlink(missing_ok=True)
        else:
            (folder / name).write_text(text, encoding="utf-8")
    return folder


def make_tokenizer() -> Tokenizer:
    """Bytes alone, and three control tokens: 259 tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=256, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([], trainer)
    tokenizer.add_special_tokens([AddedToken(content, special=True) for content in CONTROLS])
    return tokenizer
