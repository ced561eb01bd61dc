"""Runs in a process of its own: renders a model's chat template, which is not trusted, and prints the result.

Reads one JSON object from standard input: `template`, `special_tokens`, `conversations` (lists of messages) and
`limits`. Writes a list with one object for each conversation: `text`; or `refused`, with the message of the template's
`raise_exception`; or `error`, with our message. Jinja's sandbox keeps the template away from Python's attributes, and
limits of the operating system end a template that needs too much time or memory. `rendering.py` starts this.

The environment has what transformers gives to templates, so that a template renders as its authors intended:
`trim_blocks`, `lstrip_blocks`, loop controls, `raise_exception`, `strftime_now`, `tojson`, and blocks of `generation`.
"""

import json
import resource
import sys
from datetime import datetime
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

ERRORS_OF_A_PROGRAM = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class Refusal(Exception):
    """The template's own `raise_exception`: it does not take this conversation."""


class GenerationBlock(Extension):
    """`{% generation %}` marks the model's text for training. Here only its content is rendered."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return the content of the block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    limits = request["limits"]
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (limits["seconds"],) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    try:
        template = make_environment().from_string(request["template"])
    except (TemplateSyntaxError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        where = f" in line {line}" if line else ""
        answers = [{"error": f"It has an error{where}: {str(error)[:200] or type(error).__name__}"}]
        answers *= len(request["conversations"])
    else:
        answers = [render(template, each, request) for each in request["conversations"]]
    json.dump(answers, sys.stdout)


def make_environment() -> ImmutableSandboxedEnvironment:
    """The sandboxed environment, with the filters and functions that templates may use."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)  # noqa: DTZ005  the date on the wall
    return environment


def render(template: Any, messages: list[dict[str, str]], request: dict[str, Any]) -> dict[str, str]:
    """Render the template with one conversation. Returns `text`, `refused` or `error`."""
    most = request["limits"]["characters"]
    pieces: list[str] = []
    size = 0
    try:
        for piece in template.generate(messages=messages, add_generation_prompt=True, **request["special_tokens"]):
            size += len(piece)
            if size > most:
                return {"error": f"It writes more than {most:,} characters around one conversation"}
            pieces.append(piece)
    except Refusal as refusal:
        return {"refused": str(refusal)[:300]}
    except SecurityError as error:
        return {"error": f"It reaches for what a template may not touch: {str(error)[:200]}"}
    except MemoryError:
        return {"error": "It needs too much memory"}
    except (TemplateError, *ERRORS_OF_A_PROGRAM) as error:
        return {"error": f"It fails: {type(error).__name__}: {str(error)[:200]}"}
    return {"text": "".join(pieces)}


def raise_exception(message: object) -> None:
    """The function that templates call to refuse a conversation."""
    raise Refusal(message)


def to_json(value: Any, indent: int | None = None, **_options: Any) -> str:
    """Plain JSON, without the HTML escapes that Jinja's own filter adds."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


if __name__ == "__main__":
    main()
