"""Columns of the lists of money: whose it is, and credits as credits."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from accounts.models import User
from billing.templatetags.money import format_credits, signed_credits


def customer_link(user: User) -> SafeString:
    """The customer's address, which leads to everything about them."""
    return format_html('<a href="{}">{}</a>', reverse("admin:customer", args=[user.pk]), user)


def customer_of(path: str) -> Callable[[Any, Any], SafeString]:
    """A column that shows the customer at the end of this path, such as `wallet__user`."""

    @admin.display(description=_("customer"))
    def customer(_admin: Any, row: Any) -> SafeString:
        user = row
        for name in path.split("__"):
            user = getattr(user, name)
        return customer_link(user)

    return customer


def credits_of(name: str, label: StrOrPromise, *, is_signed: bool = False) -> Callable[[Any, Any], str]:
    """A column that shows the microcredits of this attribute as credits; empty where there are none."""

    @admin.display(description=label)
    def amount(_admin: Any, row: Any) -> str:
        microcredits = getattr(row, name)
        if microcredits is None:
            return ""
        return signed_credits(microcredits) if is_signed else format_credits(microcredits)

    return amount
