"""The catalogue tells the truth about the weights of this machine."""

import pytest
from django.core.management import call_command

from billing.models import Price
from inference.catalogue import DEMO_KEY, ModelUnavailable, find_weights, seed_catalogue
from inference.models import CatalogueModel


def make_model(folder, *missing):
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        if name not in missing:
            (folder / name).touch()
    return folder


def test_seeding_twice_changes_nothing_that_staff_changed(catalogue):
    CatalogueModel.objects.filter(key="gemma-3-1b").update(name="Renamed", is_active=False)
    seed_catalogue()
    model = CatalogueModel.objects.get(key="gemma-3-1b")
    assert (model.name, model.is_active) == ("Renamed", False)
    assert CatalogueModel.objects.count() == Price.objects.count() == 3


def test_prices_are_those_of_the_price_list(catalogue):
    prices = {
        price.model_key: (price.prompt_microcredits_per_token, price.completion_microcredits_per_token)
        for price in Price.objects.all()
    }
    assert prices == {"gemma-3-270m": (20, 40), "gemma-3-1b": (100, 200), "gemma-3-12b": (1000, 2000)}


def test_the_folder_of_model_dir_wins_over_the_source(settings, tmp_path):
    settings.MODEL_DIR = tmp_path
    theirs, ours = make_model(tmp_path / "elsewhere"), make_model(tmp_path / "gemma-3-1b")
    assert find_weights(key="gemma-3-1b", source=str(theirs)) == ours
    assert find_weights(key="other", source=str(theirs)) == theirs


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_half_a_folder_is_unavailable_and_names_what_is_missing(settings, tmp_path, missing):
    settings.MODEL_DIR = tmp_path
    make_model(tmp_path / "gemma-3-1b", missing)
    with pytest.raises(ModelUnavailable, match="safetensors" if "safe" in missing else missing):
        find_weights(key="gemma-3-1b", source="google/gemma-3-1b-it")


def test_missing_weights_say_what_to_do(settings, tmp_path):
    settings.MODEL_DIR = tmp_path
    with pytest.raises(ModelUnavailable, match="HF_TOKEN"):
        find_weights(key="gemma-3-1b", source="google/gemma-3-1b-it")


def test_prepare_models_notes_what_is_there_and_what_is_not(db, settings, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    settings.MODEL_DIR = tmp_path
    make_model(tmp_path / DEMO_KEY)
    call_command("prepare_models")
    available = {model.key: model.is_available for model in CatalogueModel.objects.all()}
    assert available == {"gemma-3-270m": True, "gemma-3-1b": False, "gemma-3-12b": False}
    assert "gemma-3-270m: ready" in capsys.readouterr().out
    make_model(tmp_path / "gemma-3-1b")
    call_command("prepare_models", only="gemma-3-1b")
    assert CatalogueModel.objects.get(key="gemma-3-1b").is_available


def test_a_hub_that_cannot_be_reached_leaves_the_model_unavailable(db, settings, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_not_a_token")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    settings.MODEL_DIR = tmp_path
    call_command("prepare_models", only="gemma-3-1b")
    assert "Downloading google/gemma-3-1b-it failed" in CatalogueModel.objects.get(key="gemma-3-1b").unavailable_reason
