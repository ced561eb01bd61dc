"""JSON in, JSON out. REST framework's settings name these, so this module imports none of its views."""

from collections.abc import Iterable
from typing import Any

from django.utils.translation import gettext as _
from rest_framework import exceptions
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import JSONParser
from rest_framework.request import Request


class StrictJson(JSONParser):
    """JSON whose nesting is sane: Python's parser gives up with an error that is no parse error."""

    def parse(self, *args: Any, **kwargs: Any) -> Any:
        """Raises ParseError."""
        try:
            return super().parse(*args, **kwargs)
        except RecursionError:
            raise exceptions.ParseError(_("The body is nested too deeply.")) from None


class AlwaysJson(BaseContentNegotiation):
    """Answers are JSON, whatever `Accept` says: a client that asks for something else reads it well enough."""

    def select_parser(self, request: Request, parsers: Iterable[Any]) -> Any:
        """The parser of the body's media type; None is a 415."""
        kind = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == kind), None)

    def select_renderer(
        self, _request: Request, renderers: Iterable[Any], _format_suffix: str | None = None
    ) -> tuple[Any, str]:
        """The first."""
        first = next(iter(renderers))
        return first, first.media_type
