"""Markdown in templates."""

from django import template
from django.utils.safestring import SafeString, mark_safe

from chat.markdown.rendering import render

register = template.Library()


@register.filter
def markdown(text: str) -> SafeString:
    """Render Markdown as HTML that nh3 has sanitised."""
    return mark_safe(render(text))  # noqa: S308  sanitised by nh3
