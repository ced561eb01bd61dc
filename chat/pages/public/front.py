"""What strangers see: the landing page and the prices, live from the catalogue."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import cache_control
from django.views.decorators.http import conditional_page

from accounts.pages.public_pages import public_page, render_once
from billing.currencies import decimals_of
from billing.ledger.prices import PriceTag, current_price_tags
from billing.topups.packages import packages_on_sale
from inference.catalogue import ModelUnavailable
from inference.models import CatalogueModel
from inference.prompting.prompts import Conversation, InvalidPrompt, Turn, encode_prompt

# The example answer whose price the pages show: a question, and half a page of text.
EXAMPLE_PROMPT_TOKENS, EXAMPLE_ANSWER_TOKENS = 128, 342
STOPPED_TOKENS = 21  # of the same answer, stopped early
# The picture of a chat. Its question is counted as the model counts it, with what its format adds.
QUESTION = gettext_lazy("Three names for a sourdough?")
UNCOUNTED_TOKENS = 24  # of the question, where the model's files are not here
SHORT_ANSWER_TOKENS, NEXT_QUESTION_TOKENS = 58, 8


@cache_control(private=True, no_cache=True)
@conditional_page
def landing(_request: HttpRequest) -> HttpResponse:
    """The first page, for strangers.

    The same address is the chat of whoever is logged in. Some shared caches ignore `Vary: Cookie`, and would give a
    stranger's page to a customer. So only browsers keep this page, and they ask each time whether it still holds. Redis
    has it ready.
    """
    return HttpResponse(render_once("landing", _render_landing))


@public_page()
def pricing(_request: HttpRequest) -> HttpResponse:
    """Prices of models and credits, for everybody."""
    return HttpResponse(render_once("pricing", _render_pricing))


def _render_landing() -> str:
    offered = _offered_models()
    shown = next((row for row in offered if row["model"].is_available), offered[0] if offered else None)
    context = _read_prices(offered) | {"shown": shown}
    if shown:
        code = _write_api_example(shown["model"].key)
        context |= {
            "examples": _price_examples(shown["model"], shown["price"]),
            "code": code,
            "code_block": f"```python\n{code}\n```",
        }
    return render_to_string("chat/front/landing.html", context)


def _render_pricing() -> str:
    return render_to_string("chat/front/pricing.html", _read_prices(_offered_models()))


def _offered_models() -> list[dict[str, Any]]:
    """The models of the picker, each with its prices, and the cost of the example answer in microcredits."""
    models = list(CatalogueModel.objects.offered())
    tags = current_price_tags([model.key for model in models])
    return [
        {
            "model": model,
            "price": tags[model.key],
            "answer_microcredits": tags[model.key].cost_microcredits(EXAMPLE_PROMPT_TOKENS, EXAMPLE_ANSWER_TOKENS),
        }
        for model in models
        if model.key in tags
    ]


def _read_prices(offered: list[dict[str, Any]]) -> dict[str, Any]:
    """What both pages say about credits: packages, amounts, the bonus, and how many example answers it pays for."""
    (least, most), currency = settings.TOPUP_MINOR_BOUNDS, settings.TOPUP_CURRENCY
    bonus = settings.SIGNUP_BONUS_MICROCREDITS
    available = [row for row in offered if row["model"].is_available]
    cheapest = min(available, key=lambda row: row["answer_microcredits"], default=None)
    return {
        "offered": offered,
        "prompt_tokens": EXAMPLE_PROMPT_TOKENS,
        "answer_tokens": EXAMPLE_ANSWER_TOKENS,
        "packages": packages_on_sale(),
        "is_selling": bool(settings.PAYMENT_PROVIDERS),
        "least_minor": least,
        "most_minor": most,
        "currency": currency.upper(),
        "credits_per_unit": settings.CREDITS_PER_MINOR_UNIT * 10 ** decimals_of(currency),
        "bonus": bonus,
        "bonus_days": settings.SIGNUP_BONUS_DAYS,
        "cheapest": cheapest,
        "bonus_answers": _round_down(bonus // cheapest["answer_microcredits"]) if cheapest else 0,
        "cache_percent": settings.ANSWER_CACHE_PRICE_PERCENT if settings.ANSWER_CACHE_SECONDS else 0,
    }


def _price_examples(model: CatalogueModel, price: PriceTag) -> dict[str, Any]:
    """Numbers and costs, in microcredits, of the examples on the landing page, for one model at its prices."""
    longest = settings.DEFAULT_MAX_TOKENS
    prompt_tokens = _count_question(model)
    next_prompt_tokens = prompt_tokens + SHORT_ANSWER_TOKENS + NEXT_QUESTION_TOKENS
    return {
        "question": QUESTION,
        "most": price.cost_microcredits(EXAMPLE_PROMPT_TOKENS, longest),
        "likely": price.cost_microcredits(EXAMPLE_PROMPT_TOKENS, EXAMPLE_ANSWER_TOKENS),
        "stopped_tokens": STOPPED_TOKENS,
        "stopped": price.cost_microcredits(EXAMPLE_PROMPT_TOKENS, STOPPED_TOKENS),
        "short_prompt_tokens": prompt_tokens,
        "short_answer_tokens": SHORT_ANSWER_TOKENS,
        "short": price.cost_microcredits(prompt_tokens, SHORT_ANSWER_TOKENS),
        "next_likely": price.cost_microcredits(next_prompt_tokens, SHORT_ANSWER_TOKENS),
        "next_most": price.cost_microcredits(next_prompt_tokens, longest),
    }


def _count_question(model: CatalogueModel) -> int:
    try:
        return len(encode_prompt(model=model, prompt=Conversation([Turn("user", str(QUESTION))])))
    except (ModelUnavailable, InvalidPrompt):
        return UNCOUNTED_TOKENS


def _write_api_example(model_key: str) -> str:
    """Five lines of Python that get an answer from this site, once KEY is an API key."""
    return f"""from openai import OpenAI
tally = OpenAI(base_url="{settings.PUBLIC_URL}/v1", api_key=KEY)
answer = tally.chat.completions.create(model="{model_key}",
    messages=[{{"role": "user", "content": "Hello!"}}])
print(answer.choices[0].message.content)"""


def _round_down(number: int) -> int:
    """Keep the first digit: 615 is 600."""
    unit: int = 10 ** (len(str(number)) - 1)
    return number // unit * unit
