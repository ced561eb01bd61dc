"""The folders of the models whose prompts are tried."""

from pathlib import Path

import pytest
from django.conf import settings

from inference.catalogue import DEMO_KEY, SMALL_DEMO_KEY


@pytest.fixture(scope="session")
def model_folders(tiny_models: dict[str, Path]) -> dict[str, Path]:
    """The two demo models, and the tiny ones by the name of their class."""
    return {key: settings.MODEL_DIR / key for key in (DEMO_KEY, SMALL_DEMO_KEY)} | tiny_models
