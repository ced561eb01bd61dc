"""What the inference tests share."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from inference.catalogue import DEMO_KEY


@pytest.fixture(scope="session")
def demo_folder() -> Path:
    """The converted demo model; `startup.py test` prepares it before the suite."""
    folder: Path = django_settings.MODEL_DIR / DEMO_KEY
    assert (folder / "model.safetensors").exists(), "run the suite with: python3 startup.py test"
    return folder


@pytest.fixture(scope="session")
def tokenizer(demo_folder: Path) -> Any:
    """Gemma's own tokenizer."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(demo_folder / "tokenizer.json"))


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory, demo_folder: Path) -> dict[str, Path]:
    """Tiny random checkpoints of both architectures, saved as the hub has them, with the real tokenizer."""
    import torch
    from transformers import Gemma3Config, Gemma3ForCausalLM, Gemma3ForConditionalGeneration, Gemma3TextConfig

    torch.manual_seed(0)
    text = Gemma3TextConfig(
        vocab_size=262_144,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        sliding_window=32,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
    )
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    whole = Gemma3Config(text_config=text.to_dict(), vision_config=vision, mm_tokens_per_image=4)
    folders = {}
    for name, model in (
        ("Gemma3ForCausalLM", Gemma3ForCausalLM(text)),
        ("Gemma3ForConditionalGeneration", Gemma3ForConditionalGeneration(whole)),
    ):
        folder = tmp_path_factory.mktemp(name)
        model.save_pretrained(folder)
        shutil.copy(demo_folder / "tokenizer.json", folder)
        folders[name] = folder
    return folders
