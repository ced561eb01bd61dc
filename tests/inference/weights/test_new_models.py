"""An operator offers another model: by a command or in the admin, at once, or with the reason why not."""

import json
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command

from accounts.models import AuditEvent
from billing.models import Price
from inference.models import CatalogueModel, PromptFormat
from inference.prompting.prompts import Conversation, Turn, encode_prompt
from tests.inference.checkpoints import CONFIG, make_checkpoint
from tests.inference.prompting.templates import HOSTILE

PRICES = ("--prompt-price", "0.25", "--completion-price", "0.5")


@pytest.fixture
def folder(tmp_path):
    return make_checkpoint(tmp_path / "theirs")


def test_a_folder_is_offered_at_once(catalogue, folder, client, alice, capsys):
    call_command("add_model", "tiny-llama", str(folder), *PRICES, "--name", "Tiny")
    model = CatalogueModel.objects.get(key="tiny-llama")
    assert (model.is_available, model.context_tokens, model.max_completion_tokens) == (True, 4096, 2048)
    assert (model.prompt_format, model.position) == (PromptFormat.CHAT_TEMPLATE, 6)
    price = Price.objects.get(model_key="tiny-llama")
    assert (price.prompt_microcredits_per_token, price.completion_microcredits_per_token) == (250, 500)
    said = capsys.readouterr().out
    assert "tiny-llama: llama, " in said
    assert "stop tokens 257, 260" in said
    assert "tiny-llama: ready" in said
    client.force_login(alice)
    assert 'value="tiny-llama"' in client.get("/").content.decode()
    assert len(encode_prompt(model=model, prompt=Conversation([Turn("user", "Hi")]))) > 5


def test_without_prices_it_stays_inactive(catalogue, folder, capsys):
    call_command("add_model", "tiny-llama", str(folder))
    assert not CatalogueModel.objects.get(key="tiny-llama").is_active
    assert not Price.objects.filter(model_key="tiny-llama").exists()
    assert "inactive: it has no price yet" in capsys.readouterr().out


def test_a_base_model_is_prompted_as_a_transcript(catalogue, tmp_path):
    call_command("add_model", "base", str(make_checkpoint(tmp_path / "base", template="")), *PRICES)
    assert CatalogueModel.objects.get(key="base").prompt_format == PromptFormat.TRANSCRIPT
    call_command("add_model", "chat", str(make_checkpoint(tmp_path / "chat")), *PRICES, "--transcript")
    assert CatalogueModel.objects.get(key="chat").prompt_format == PromptFormat.TRANSCRIPT


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("not a slug", "{folder}"), "letters, digits, hyphens"),
        (("k" * 65, "{folder}"), "at most 64 characters"),
        (("gemma-3-1b", "{folder}"), "There is a model"),
        (("new", "/nowhere/at/all"), "There is no folder"),
        (("new", "{folder}", "--prompt-price", "1"), "both prices or none"),
        (("new", "{folder}", "--prompt-price", "x", "--completion-price", "1"), "is no price"),
        (("new", "{folder}", "--prompt-price", "nan", "--completion-price", "1"), "above 0"),
        (("new", "{folder}", "--prompt-price", "-1", "--completion-price", "1"), "above 0"),
        (("new", "{folder}", "--prompt-price", "0.0001", "--completion-price", "1"), "no whole number"),
        (("new", "{folder}", "--context-tokens", "5000"), "context window has 4,096"),
        (("new", "{folder}", "--max-completion-tokens", "4096"), "shorter than the context"),
        (("new", "{folder}", "--name", "n" * 101), "at most 100 characters"),
        (("new", "{folder}", "--transcript", "--context-tokens", "300"), "smaller than what introduces"),
    ],
)
def test_what_cannot_be_offered_is_refused_and_changes_nothing(catalogue, folder, arguments, reason):
    before = (list(CatalogueModel.objects.values_list()), Price.objects.count())
    with pytest.raises(CommandError, match=reason):
        call_command("add_model", *(str(each).format(folder=folder) for each in arguments))
    assert (list(CatalogueModel.objects.values_list()), Price.objects.count()) == before


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"tokenizer__json": None}, "tokenizer.json missing"),
        ({"tokenizer__json": "{}"}, "tokenizer.json cannot be read"),
        ({"config__json": json.dumps(CONFIG | {"model_type": "mamba"})}, "is not served"),
        ({"config__json": json.dumps(CONFIG | {"vocab_size": 200})}, "256 tokens, its embedding 200"),
        ({"config__json": json.dumps({k: v for k, v in CONFIG.items() if k != "hidden_size"})}, "how large it is"),
        ({"model__safetensors": None, "pytorch_model__bin": "x"}, "pickled"),
        *(({"chat_template__jinja": source}, reason) for source, reason in HOSTILE.values()),
    ],
)
def test_a_bad_folder_is_refused_with_the_reason(catalogue, tmp_path, files, reason):
    make_checkpoint(tmp_path / "bad", **files)
    with pytest.raises(CommandError, match=reason):
        call_command("add_model", "bad", str(tmp_path / "bad"), *PRICES)
    assert not CatalogueModel.objects.filter(key="bad").exists()


def test_prices_that_are_there_already_are_not_silently_kept(catalogue, folder):
    Price.objects.create(
        model_key="tiny-llama",
        prompt_microcredits_per_token=1,
        completion_microcredits_per_token=1,
        effective_at="2026-01-02T00:00:00Z",
    )
    with pytest.raises(CommandError, match="prices for “tiny-llama” already"):
        call_command("add_model", "tiny-llama", str(folder), *PRICES)
    assert not CatalogueModel.objects.filter(key="tiny-llama").exists()


@pytest.fixture
def admin_page(client, staff):
    client.force_login(staff)
    return client


def add_in_admin(client, **fields):
    return client.post("/admin/inference/cataloguemodel/add/", {"key": "tiny-llama", "prompt_format": "", **fields})


def test_staff_add_a_model_in_the_admin_and_activate_it_once_it_has_a_price(admin_page, staff, folder):
    assert add_in_admin(admin_page, source=str(folder)).status_code == 302
    model = CatalogueModel.objects.get(key="tiny-llama")
    assert (model.is_active, model.name, model.unavailable_reason) == (False, "tiny-llama", "")
    assert AuditEvent.objects.get(action="model added").actor == staff
    url = "/admin/inference/cataloguemodel/tiny-llama/change/"
    fields = {name: getattr(model, name) for name in ("name", "source", "context_tokens", "prompt_format", "position")}
    fields |= {"max_completion_tokens": 100, "is_active": "on", "description": ""}
    assert "no price yet" in admin_page.post(url, fields).content.decode()
    Price.objects.create(
        model_key="tiny-llama",
        prompt_microcredits_per_token=1,
        completion_microcredits_per_token=1,
        effective_at="2026-01-02T00:00:00Z",
    )
    assert admin_page.post(url, fields).status_code == 302
    model.refresh_from_db()
    assert (model.is_active, model.max_completion_tokens) == (True, 100)
    assert AuditEvent.objects.get(action="model changed").details["is_active"] == "True"


def test_the_admin_refuses_with_the_reason(admin_page, tmp_path):
    broken = make_checkpoint(tmp_path / "broken", template="{% if ")
    page = add_in_admin(admin_page, source=str(broken)).content.decode()
    assert "error in line 1" in page
    assert "There is no folder" in add_in_admin(admin_page, source="nowhere at all").content.decode()
    assert not CatalogueModel.objects.filter(key="tiny-llama").exists()


def test_another_source_is_tried_when_staff_change_it(admin_page, folder, tmp_path):
    add_in_admin(admin_page, source=str(folder))
    model = CatalogueModel.objects.get(key="tiny-llama")
    fields = {name: getattr(model, name) for name in ("name", "context_tokens", "max_completion_tokens", "position")}
    admin_page.post(
        "/admin/inference/cataloguemodel/tiny-llama/change/",
        fields | {"source": str(tmp_path / "gone"), "prompt_format": "chat_template", "description": ""},
    )
    model.refresh_from_db()
    assert "not on this machine" in model.unavailable_reason


def test_programs_read_what_a_model_is(catalogue, folder, settings):
    from inference.weights.model_cards import describe_models

    call_command("add_model", "tiny-llama", str(folder), *PRICES)
    [card] = describe_models(CatalogueModel.objects.filter(key="tiny-llama"))
    assert (card["id"], card["context_length"], card["owned_by"]) == ("tiny-llama", 4096, "tally")
    assert card["default_parameters"]["temperature"] == 0.6
    assert Decimal(card["pricing"]["prompt"]) == Decimal("0.0000025")  # 0.25 credits, of one cent each, for a thousand
    assert card["pricing"]["completion_microcredits"] == 500
    settings.TOPUP_CURRENCY = "jpy"  # has no smaller unit: a credit costs a yen
    [card] = describe_models(CatalogueModel.objects.filter(key="tiny-llama"))
    assert (card["pricing"]["currency"], Decimal(card["pricing"]["prompt"])) == ("jpy", Decimal("0.00025"))
    assert card["top_provider"]["max_completion_tokens"] == 2048
