"""Which pages of the operator's own text there are: terms and privacy."""

from django import template
from django.conf import settings

register = template.Library()


@register.simple_tag
def has_terms() -> bool:
    """Whether the operator gave terms."""
    return bool(settings.TERMS)


@register.simple_tag
def has_privacy() -> bool:
    """Whether the operator gave a text about privacy."""
    return bool(settings.PRIVACY)
