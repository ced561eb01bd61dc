"""What the inference tests share."""

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from inference.catalogue import DEMO_KEY
from tests.inference.tiny_models import OTHERS, make_tiny_model
from tests.inference.working import work  # noqa: F401  fixtures


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
    """Tiny random checkpoints of every architecture, by their class, whole as the hub has them."""
    names = ("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration", *OTHERS)
    folders = {name: tmp_path_factory.mktemp(name) for name in names}
    for name, folder in folders.items():
        make_tiny_model(name, folder, demo_folder)
    return folders
