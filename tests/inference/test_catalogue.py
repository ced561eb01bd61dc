"""The catalogue tells the truth about the weights of this machine."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.core.management import CommandError, call_command

from billing.models import Price
from inference.catalogue import DEMO_KEY, SMALL_DEMO_KEY, ModelUnavailable, find_weights, seed_catalogue
from inference.engine.checkpoint import read_checkpoint
from inference.models import CatalogueModel
from tests.inference.checkpoints import make_checkpoint


def make_model(folder, *missing):
    return make_checkpoint(folder, **{name.replace(".", "__"): None for name in missing})


def test_seeding_twice_changes_nothing_that_staff_changed(catalogue):
    CatalogueModel.objects.filter(key="gemma-3-1b").update(name="Renamed", is_active=False)
    seed_catalogue()
    model = CatalogueModel.objects.get(key="gemma-3-1b")
    assert (model.name, model.is_active) == ("Renamed", False)
    assert CatalogueModel.objects.count() == Price.objects.count() == 6


def test_prices_are_those_of_the_price_list(catalogue):
    prices = {
        price.model_key: (price.prompt_microcredits_per_token, price.completion_microcredits_per_token)
        for price in Price.objects.all()
    }
    assert prices == {
        "gemma-3-270m": (20, 40),
        "gemma-3-1b": (100, 200),
        "gemma-3-4b": (300, 600),
        "gemma-3-12b": (1000, 2000),
        "gemma-3-27b": (2500, 5000),
        "smollm2-135m": (10, 20),
    }


def test_the_largest_models_wait_for_an_operator_to_offer_them(catalogue):
    offered = list(CatalogueModel.objects.offered().values_list("key", flat=True))
    assert offered == ["gemma-3-12b", "gemma-3-1b", "gemma-3-270m", "smollm2-135m"]


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
    make_model(tmp_path / SMALL_DEMO_KEY, "chat_template.jinja")
    call_command("prepare_models")
    available = {model.key for model in CatalogueModel.objects.all() if model.is_available}
    assert available == {"gemma-3-270m"}
    said = capsys.readouterr().out
    assert "gemma-3-270m: ready" in said
    assert "smollm2-135m: It has no chat template." in said
    assert "gemma-3-27b" not in said
    make_model(tmp_path / "gemma-3-1b")
    call_command("prepare_models", "gemma-3-1b")
    assert CatalogueModel.objects.get(key="gemma-3-1b").is_available


def test_keys_that_are_unknown_or_not_ready_end_with_an_error(db, settings, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    settings.MODEL_DIR = tmp_path
    with pytest.raises(
        CommandError, match=r"No such model: gemma-9\. There are: smollm2-135m, gemma-3-270m, gemma-3-27b"
    ):
        call_command("prepare_models", "gemma-9")
    with pytest.raises(CommandError, match="Not every model is ready"):
        call_command("prepare_models", "gemma-3-1b")


class Hub(BaseHTTPRequestHandler):
    """Answers like the hub: with a refusal, or with a model's files."""

    status, code, files = 200, "", {}
    asked = []

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.asked.append(self.headers.get("Authorization"))
        body = self.body() if self.status == 200 else b"{}"
        self.send_response(self.status if body is not None else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.send_header("Content-Type", "application/json")
        if self.code:
            self.send_header("X-Error-Code", self.code)
        if "/resolve/" in self.path:
            self.send_header("ETag", f'"{len(body)}"')
            self.send_header("X-Repo-Commit", "a" * 40)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body or b"")

    def body(self):
        if "/tree/" in self.path:
            entries = [
                {"type": "file", "path": name, "size": len(text), "oid": name} for name, text in self.files.items()
            ]
            return json.dumps(entries).encode()
        if "/resolve/" in self.path:
            return self.files[self.path.rpartition("/")[2]]
        return json.dumps({"id": "google/gemma-3-1b-it", "sha": "a" * 40, "siblings": []}).encode()

    def log_message(self, *_args):
        pass


@pytest.fixture
def hub(monkeypatch):
    """A hub on this machine; set its `status` and X-Error-Code to make it refuse, `files` to make it give."""
    handler = type("ThisHub", (Hub,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setenv("HF_TOKEN", "hf_not_a_token")
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (403, "GatedRepo", "accept its licence at http://127.0.0.1"),
        (404, "RepoNotFound", "knows no google/gemma-3-1b-it"),
        (401, "", "HF_TOKEN"),
        (400, "", "status 400"),
    ],
)
def test_a_hub_that_refuses_says_why_and_what_to_do(db, settings, tmp_path, hub, status, code, said):
    settings.MODEL_DIR = tmp_path
    hub.status, hub.code = status, code
    with pytest.raises(CommandError):
        call_command("prepare_models", "gemma-3-1b")
    assert said in CatalogueModel.objects.get(key="gemma-3-1b").unavailable_reason
    assert "Bearer hf_not_a_token" in hub.asked


def test_a_model_is_downloaded_with_progress_and_only_the_files_it_needs(
    db, settings, tmp_path, hub, monkeypatch, capsys
):
    monkeypatch.setattr("inference.weights.downloads.SAY_SECONDS", 0.001)
    settings.MODEL_DIR = tmp_path
    weights = b"w" * 3_000_000
    theirs = make_model(tmp_path / "theirs")
    hub.files = {file.name: file.read_bytes() for file in theirs.iterdir()}
    hub.files |= {"model.safetensors": weights, "picture.png": b"no"}
    call_command("prepare_models", "gemma-3-1b")
    assert CatalogueModel.objects.get(key="gemma-3-1b").is_available
    assert (tmp_path / "gemma-3-1b" / "model.safetensors").read_bytes() == weights
    assert not (tmp_path / "gemma-3-1b" / "picture.png").exists()
    said = capsys.readouterr().out
    assert "gemma-3-1b: downloading google/gemma-3-1b-it, 3 MB" in said
    assert "MB of 3 MB" in said


def test_a_hub_that_cannot_be_reached_leaves_the_model_unavailable(db, settings, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_not_a_token")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _seconds: None)  # the library tries five times
    settings.MODEL_DIR = tmp_path
    with pytest.raises(CommandError):
        call_command("prepare_models", "gemma-3-1b")
    reason = CatalogueModel.objects.get(key="gemma-3-1b").unavailable_reason
    assert reason == "Downloading google/gemma-3-1b-it failed: the hub at http://127.0.0.1:1 cannot be reached."


def test_a_demo_folder_of_an_earlier_version_learns_how_to_draw(db, settings, tmp_path):
    settings.MODEL_DIR = tmp_path
    folder = make_checkpoint(tmp_path / DEMO_KEY, generation_config__json='{"eos_token_id": 1}')
    call_command("prepare_models", DEMO_KEY)
    assert read_checkpoint(folder).sampling.temperature < 0.8
    own = '{"eos_token_id": 1, "do_sample": true, "temperature": 1.5}'
    (folder / "generation_config.json").write_text(own)
    call_command("prepare_models", DEMO_KEY)
    assert (folder / "generation_config.json").read_text() == own
