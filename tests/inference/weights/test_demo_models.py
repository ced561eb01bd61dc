"""The bundled demo models become folders that can be served: whole or not at all, and exactly what the GGUF says."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors import safe_open

from inference.engine.checkpoint import read_checkpoint
from inference.weights import demo_models
from inference.weights.demo_models import convert_demo_model, is_bundled, write_without_lists
from tests.inference.checkpoints import make_checkpoint

GEMMA, SMOLLM2 = "gemma-3-270m", "smollm2-135m"


# --- The GGUF file without its lists ---


@pytest.fixture
def small_gguf(tmp_path):
    """A file with a value of every kind that has a width of its own, lists of two kinds, and two tensors."""
    writer = gguf.GGUFWriter(tmp_path / "small.gguf", "llama")
    writer.add_name("Kleine Größe")
    for kind in (
        "uint8",
        "int8",
        "uint16",
        "int16",
        "uint32",
        "int32",
        "float32",
        "uint64",
        "int64",
        "float64",
        "bool",
    ):
        getattr(writer, f"add_{kind}")(f"test.{kind}", 1)
    writer.add_array("tokenizer.ggml.tokens", ["<s>", "ä", "long enough"])
    writer.add_array("tokenizer.ggml.scores", [0.5, 1.5, 2.5])
    writer.add_tensor("token_embd.weight", np.arange(12, dtype=np.float32).reshape(3, 4))
    writer.add_tensor("output_norm.weight", np.ones(4, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "small.gguf"


def test_a_copy_without_lists_keeps_every_value_and_tensor(small_gguf, tmp_path):
    write_without_lists(small_gguf, tmp_path / "slim.gguf", "llama")
    whole, slim = gguf.GGUFReader(small_gguf), gguf.GGUFReader(tmp_path / "slim.gguf")
    values = {name: field.contents() for name, field in slim.fields.items() if not name.startswith("GGUF.")}
    lists = {"tokenizer.ggml.tokens", "tokenizer.ggml.scores"}
    kept = [name for name in whole.fields if name not in lists and not name.startswith("GGUF.")]
    assert values == {name: whole.fields[name].contents() for name in kept} | {"llama.vocab_size": 3}
    for one, other in zip(whole.tensors, slim.tensors, strict=True):
        assert (one.name, one.tensor_type) == (other.name, other.tensor_type)
        assert np.array_equal(one.data, other.data)


def test_a_size_of_the_vocabulary_that_the_file_states_stays(small_gguf, tmp_path):
    write_without_lists(small_gguf, tmp_path / "once.gguf", "llama")
    write_without_lists(tmp_path / "once.gguf", tmp_path / "twice.gguf", "llama")
    assert (tmp_path / "once.gguf").read_bytes() == (tmp_path / "twice.gguf").read_bytes()


# --- Whole or not at all ---


@pytest.fixture
def quick_model(monkeypatch):
    """A demo model whose conversion is a copy of a small folder."""

    class Tokenizer:
        def save_pretrained(self, folder: Path) -> None:
            make_checkpoint(folder)

    def convert_weights(_gguf: Path, folder: Path, _drawing: dict[str, float]) -> None:
        (folder / "model.safetensors").write_bytes(b"weights")

    quick = demo_models._Demo("json", "llama", lambda work: work / "file.gguf", lambda gguf: Tokenizer(), {})
    monkeypatch.setitem(demo_models._DEMOS, "quick", quick)
    monkeypatch.setattr(demo_models, "write_without_lists", lambda *_: None)
    monkeypatch.setattr(demo_models, "_convert_weights", convert_weights)
    return "quick"


def test_a_conversion_leaves_the_folder_and_nothing_else(quick_model, tmp_path):
    said = []
    convert_demo_model(quick_model, tmp_path / "models" / quick_model, said.append)
    assert [file.name for file in (tmp_path / "models").iterdir()] == [quick_model]
    assert all(line.startswith("quick: ") for line in said)
    read_checkpoint(tmp_path / "models" / quick_model)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError])
def test_an_interrupted_conversion_leaves_nothing(quick_model, tmp_path, monkeypatch, interruption):
    def interrupted(_gguf: Path, folder: Path, _drawing: dict[str, float]) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise interruption

    monkeypatch.setattr(demo_models, "_convert_weights", interrupted)
    with pytest.raises(interruption):
        convert_demo_model(quick_model, tmp_path / "models" / quick_model, print)
    assert list((tmp_path / "models").iterdir()) == []


def test_two_conversions_at_once_are_harmless(quick_model, tmp_path):
    targets = [tmp_path / "models" / quick_model] * 8
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda target: convert_demo_model(quick_model, target, print), targets))
    assert [file.name for file in (tmp_path / "models").iterdir()] == [quick_model]
    read_checkpoint(targets[0])


def test_half_a_folder_is_replaced(quick_model, tmp_path):
    target = make_checkpoint(tmp_path / quick_model)
    (target / "model.safetensors").unlink(missing_ok=True)
    convert_demo_model(quick_model, target, print)
    assert (target / "model.safetensors").read_bytes() == b"weights"


def test_only_an_installed_demo_model_is_bundled(monkeypatch):
    assert is_bundled(GEMMA)
    assert is_bundled(SMOLLM2)
    assert not is_bundled("gemma-3-12b")
    monkeypatch.setattr(demo_models, "find_spec", lambda name: None)
    assert not is_bundled(GEMMA)


# --- The real ones ---


def read_tensors(file: Path) -> Callable[[str], torch.Tensor]:
    """The tensors of a GGUF file by name, as the format's own library unpacks them."""
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    return lambda name: torch.tensor(gguf.dequantize(stored[name].data, stored[name].tensor_type))


@pytest.fixture(scope="module")
def smollm2_file() -> Path:
    return demo_models._find_smollm2(Path())


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / SMOLLM2
    convert_demo_model(SMOLLM2, folder, print)
    return folder


@pytest.mark.slow
def test_smollm2_becomes_a_chat_model_that_can_be_served(smollm2):
    checkpoint = read_checkpoint(smollm2)
    assert (checkpoint.model_type, checkpoint.context_tokens, checkpoint.vocabulary) == ("llama", 8192, 49152)
    assert checkpoint.stop_token_ids == (2,)
    assert checkpoint.special_tokens["eos_token"] == "<|im_end|>"
    assert "<|im_start|>assistant" in checkpoint.chat_template
    assert checkpoint.sampling.temperature == demo_models._DEMOS[SMOLLM2].drawing["temperature"]
    config = json.loads((smollm2 / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["tie_word_embeddings"] is True


@pytest.mark.slow
def test_the_weights_of_smollm2_are_those_of_its_gguf(smollm2, smollm2_file, tmp_path):
    """The four sorts: the embedding, a norm, a matrix as it is, and one whose rows GGUF keeps in another order."""
    write_without_lists(smollm2_file, tmp_path / "slim.gguf", "llama")
    stored = read_tensors(tmp_path / "slim.gguf")
    with safe_open(smollm2 / "model.safetensors", "pt") as weights:
        read = weights.get_tensor
        assert read("model.embed_tokens.weight").equal(stored("token_embd.weight").bfloat16())
        assert read("model.norm.weight").equal(stored("output_norm.weight").bfloat16())
        assert read("model.layers.7.mlp.down_proj.weight").equal(stored("blk.7.ffn_down.weight").bfloat16())
        heads = stored("blk.7.attn_q.weight").bfloat16().reshape(9, 32, 2, 576)  # pairs of a rotation lie side by side
        assert read("model.layers.7.self_attn.q_proj.weight").equal(heads.transpose(1, 2).reshape(576, 576))


@pytest.mark.slow
def test_smollm2_encodes_as_its_gguf_says(smollm2):
    """Each digit is a token; the turns' marks are control tokens; nothing is put in front."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(smollm2 / "tokenizer.json"))
    assert tokenizer.encode("a  12").tokens == ["a", "ĠĠ", "1", "2"]
    assert tokenizer.encode("<|im_start|>user\nHi<|im_end|>").ids[:1] == [1]
    assert tokenizer.encode("<|im_start|>user\nHi<|im_end|>").ids[-1:] == [2]
    for text in ("Grüße,  Welt! 🙂\n\n\tdef f(x):\n    return x ** 2", "日本語 ไทย عربي  12,345.67 ½"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


@pytest.mark.slow
def test_gemma_becomes_a_base_model_that_says_what_its_gguf_says(demo_folder, tmp_path):
    """Gemma's norms are one less than in the GGUF; its matrices are stored in four ways."""
    folder = tmp_path / GEMMA
    convert_demo_model(GEMMA, folder, print)
    checkpoint = read_checkpoint(folder)
    assert (checkpoint.model_type, checkpoint.vocabulary, checkpoint.stop_token_ids) == ("gemma3_text", 262_144, (1,))
    assert checkpoint.sampling.temperature == demo_models._DEMOS[GEMMA].drawing["temperature"]
    assert checkpoint.chat_template == ""
    assert (folder / "tokenizer.json").read_bytes() == (demo_folder / "tokenizer.json").read_bytes()

    write_without_lists(demo_models._assemble_gemma(tmp_path), tmp_path / "slim.gguf", "gemma3")
    stored = read_tensors(tmp_path / "slim.gguf")
    with safe_open(folder / "model.safetensors", "pt") as weights:
        read = weights.get_tensor
        assert read("model.layers.3.mlp.down_proj.weight").equal(stored("blk.3.ffn_down.weight").bfloat16())
        assert read("model.layers.3.self_attn.q_proj.weight").equal(stored("blk.3.attn_q.weight").bfloat16())
        assert read("model.layers.3.self_attn.v_proj.weight").equal(stored("blk.3.attn_v.weight").bfloat16())
        assert read("model.layers.3.self_attn.o_proj.weight").equal(stored("blk.3.attn_output.weight").bfloat16())
        norm = (stored("blk.3.ffn_norm.weight") - 1).bfloat16()
        assert read("model.layers.3.pre_feedforward_layernorm.weight").equal(norm)
    for file in (folder / "model.safetensors", tmp_path / "gemma.gguf", tmp_path / "slim.gguf"):
        file.unlink()  # a gigabyte
