"""How the API reads and answers JSON.

REST framework's settings name these classes, so this module must not import REST framework's views.
"""

import json
from collections.abc import Iterable
from typing import Any

from django.utils.translation import gettext as _
from rest_framework import exceptions
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import JSONParser
from rest_framework.request import Request

MOST_DIGITS = 40  # of an integer; no field takes one with more than nineteen


def read_integer(text: str) -> int:
    """Read a JSON integer, cut to MOST_DIGITS characters: every field still refuses it as too large.

    Python reads at most 4300 digits. Its error says neither which field is wrong nor that the number is too large.
    """
    return int(text[:MOST_DIGITS])


class StrictJson(JSONParser):
    """Parses standard JSON: NaN, Infinity and too deep nesting are errors; integers of any length are not."""

    def parse(self, stream: Any, *_args: Any, **_kwargs: Any) -> Any:
        """Raises ParseError."""
        try:
            return json.loads(stream.read().decode(), parse_int=read_integer, parse_constant=_refuse_constant)
        except RecursionError:
            raise exceptions.ParseError(_("The body is nested too deeply.")) from None
        except ValueError as error:
            raise exceptions.ParseError(_("The body is not valid JSON: {reason}").format(reason=error)) from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(_("{name} is no number that JSON has.").format(name=name))


class AlwaysJson(BaseContentNegotiation):
    """Answers are JSON whatever `Accept` says: a client that asks for another type can usually read JSON."""

    def select_parser(self, request: Request, parsers: Iterable[Any]) -> Any:
        """Return the parser of the body's media type; None leads to a 415."""
        kind = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == kind), None)

    def select_renderer(
        self, _request: Request, renderers: Iterable[Any], _format_suffix: str | None = None
    ) -> tuple[Any, str]:
        first = next(iter(renderers))
        return first, first.media_type
