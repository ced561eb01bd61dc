"""A model says itself what it is; a folder that cannot be served says why."""

import json

import pytest

from inference.engine.checkpoint import CheckpointError, SamplingDefaults, read_checkpoint
from inference.engine.text import load_tokenizer
from inference.prompting.encoding import PromptEncoder
from tests.inference.checkpoints import CONFIG, make_checkpoint


def test_what_a_folder_says_is_read(tmp_path):
    checkpoint = read_checkpoint(make_checkpoint(tmp_path))
    assert (checkpoint.model_type, checkpoint.context_tokens, checkpoint.vocabulary) == ("llama", 4096, 300)
    assert checkpoint.stop_token_ids == (257, 260)  # of generation_config.json and of config.json
    assert checkpoint.special_tokens == {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    assert "im_start" in checkpoint.chat_template
    assert checkpoint.sampling == SamplingDefaults(0.6, 0.9, 20, 1.0)


def test_a_changed_file_is_read_anew(tmp_path):
    read_checkpoint(make_checkpoint(tmp_path))
    (tmp_path / "chat_template.jinja").write_text("another")
    assert read_checkpoint(tmp_path).chat_template == "another"


def test_the_language_model_of_one_with_images_is_read(tmp_path):
    text = CONFIG | {"model_type": "gemma3_text", "eos_token_id": 106}
    make_checkpoint(tmp_path, config__json=json.dumps({"model_type": "gemma3", "text_config": text}))
    checkpoint = read_checkpoint(tmp_path)
    assert (checkpoint.model_type, checkpoint.stop_token_ids) == ("gemma3_text", (106, 257))


def test_what_gemmas_larger_models_leave_out_is_known(tmp_path):
    """The published configuration of Gemma 3 12B has no size of its vocabulary and no length."""
    text = {"model_type": "gemma3_text", "hidden_size": 3840, "num_hidden_layers": 48, "sliding_window": 1024}
    config = {"model_type": "gemma3", "eos_token_id": [1, 106], "text_config": text}
    checkpoint = read_checkpoint(make_checkpoint(tmp_path, config__json=json.dumps(config)))
    assert (checkpoint.vocabulary, checkpoint.context_tokens) == (262_208, 131_072)
    assert checkpoint.stop_token_ids == (1, 106, 257)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer_config__json", json.dumps({"chat_template": "T"})),
        ("tokenizer_config__json", json.dumps({"chat_template": [{"name": "default", "template": "T"}, "odd"]})),
        ("chat_template__json", json.dumps({"chat_template": "T"})),
    ],
)
def test_a_template_may_stand_in_older_places(tmp_path, name, content):
    assert read_checkpoint(make_checkpoint(tmp_path, template="", **{name: content})).chat_template == "T"


def test_the_end_token_of_the_tokenizer_stops_an_answer_too(tmp_path):
    tokens = {"eos_token": {"content": "<|end|>"}, "added_tokens_decoder": {"258": {"content": "<|end|>"}, "x": 1}}
    make_checkpoint(tmp_path, tokenizer_config__json=json.dumps(tokens), generation_config__json=None)
    assert read_checkpoint(tmp_path).stop_token_ids == (258, 260)


@pytest.mark.parametrize(
    ("generation", "expected"),
    [
        ({}, SamplingDefaults()),
        ({"temperature": "hot", "top_k": True, "top_p": 0, "repetition_penalty": 9}, SamplingDefaults()),
        ({"do_sample": True, "top_k": 50}, SamplingDefaults(1.0, 1.0, 50)),
        ({"do_sample": True, "temperature": 0, "top_k": 500}, SamplingDefaults(0.0, 1.0)),
        ({"repetition_penalty": 1.1}, SamplingDefaults(repetition_penalty=1.1)),
    ],
)
def test_sampling_defaults_within_what_we_can_do_are_kept(tmp_path, generation, expected):
    make_checkpoint(tmp_path, generation_config__json=json.dumps(generation))
    assert read_checkpoint(tmp_path).sampling == expected


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"config__json": None}, "config.json missing"),
        ({"tokenizer__json": None}, "tokenizer.json missing"),
        ({"model__safetensors": None}, r"\*.safetensors missing"),
        ({"model__safetensors": None, "pytorch_model__bin": "x"}, "pickled"),
        ({"config__json": "{"}, "cannot be read"),
        ({"config__json": "[" * 100_000}, "cannot be read"),
        ({"config__json": "[]"}, "not a JSON object"),
        ({"config__json": " " * 10_000_001}, "too large"),
        ({"config__json": "{}"}, "architecture, not named, is not served"),
        ({"config__json": json.dumps(CONFIG | {"model_type": "mamba"})}, "architecture, mamba, is not served"),
        ({"config__json": json.dumps({"model_type": "own", "auto_map": {"AutoModel": "own.Own"}})}, "code of its own"),
        ({"config__json": json.dumps({"model_type": "gemma3"})}, "no text_config"),
        ({"config__json": json.dumps(CONFIG | {"quantization_config": {"bits": 4}})}, "quantised"),
        ({"config__json": json.dumps(CONFIG | {"max_position_embeddings": "many"})}, "no max_position_embeddings"),
        ({"config__json": json.dumps(CONFIG | {"vocab_size": 0})}, "no vocab_size"),
        (
            {"config__json": json.dumps(CONFIG | {"eos_token_id": None}), "generation_config__json": None},
            "names a token that ends",
        ),
        ({"chat_template__jinja": "x" * 10_000_001}, "too large"),
    ],
)
def test_a_folder_that_cannot_be_served_says_why(tmp_path, files, reason):
    make_checkpoint(tmp_path, **files)
    with pytest.raises(CheckpointError, match=reason):
        read_checkpoint(tmp_path)


def test_weights_may_come_later(tmp_path):
    make_checkpoint(tmp_path, model__safetensors=None)
    assert read_checkpoint(tmp_path, demands_weights=False).vocabulary == 300


def test_only_control_tokens_may_lie_beyond_the_embedding(tmp_path):
    """Gemma 3 1B's tokenizer has one more token than its embedding has rows: the one for images."""
    config = {"vocab_size": 257, "eos_token_id": 256}
    checkpoint = read_checkpoint(make_checkpoint(tmp_path / "one-short", config=config))
    assert load_tokenizer(checkpoint)[1] == PromptEncoder(checkpoint.folder, 257).vocabulary == 257
    with pytest.raises(CheckpointError, match="do not belong together"):
        load_tokenizer(read_checkpoint(make_checkpoint(tmp_path / "words", config={"vocab_size": 200})))
