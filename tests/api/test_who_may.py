"""Who may call what: every method of every path under /api/v1/, for everybody. A path that is not here fails."""

from typing import Any
from unittest import mock
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from django.urls import reverse

from accounts.models import Scope, User
from accounts.staff.roles import FINANCE, OPERATOR, SUPPORT
from billing import adjustments, ledger
from billing.models import Notice, PromotionCode
from billing.refunds import requests
from billing.topups.orders import offer_of_amount, start_topup
from billing.topups.sandbox import play
from chat.saved_prompts import save_prompt
from chat.transfer.sharing import share_conversation
from tests.api.routes import methods_of, routes
from tests.billing.holds import open_hold
from tests.support.cast import CREDIT, UserFactory
from tests.support.databases.redis_admin import admin

PUBLIC, ANY, LOGIN, NOTHING = "public", "any caller", "log-in", "nothing there"
SEES_MONEY, MONEY, OPERATORS = {SUPPORT, FINANCE}, {FINANCE}, {OPERATOR}
CHAT, READ, WRITE, USAGE = Scope.CHAT, Scope.BILLING_READ, Scope.BILLING_WRITE, Scope.USAGE_READ
Rule = Any  # one of the words above, a scope, or the set of roles of staff; superusers are in each of those

TABLE: dict[tuple[str, str], Rule] = {
    ("schema", "get"): PUBLIC,
    ("docs", "get"): PUBLIC,
    ("redoc", "get"): PUBLIC,
    ("register", "post"): PUBLIC,
    ("token", "post"): PUBLIC,
    ("token_refresh", "post"): PUBLIC,
    ("token_verify", "post"): PUBLIC,
    ("password_reset", "post"): PUBLIC,
    ("password_reset_confirm", "post"): PUBLIC,
    ("verify_email", "post"): PUBLIC,
    ("verify_email_resend", "post"): PUBLIC,
    ("logout", "post"): LOGIN,
    ("password_change", "post"): LOGIN,
    ("sessions", "get"): LOGIN,
    ("session", "delete"): LOGIN,
    ("data_export", "get"): LOGIN,
    ("me", "get"): ANY,
    ("me", "patch"): LOGIN,
    ("keys", "get"): LOGIN,
    ("keys", "post"): LOGIN,
    ("key", "get"): LOGIN,
    ("key", "patch"): LOGIN,
    ("key", "delete"): LOGIN,
    ("key_rotate", "post"): LOGIN,
    ("closing", "get"): LOGIN,
    ("closing", "post"): LOGIN,
    ("wallet", "get"): READ,
    ("holds", "get"): READ,
    ("hold", "get"): READ,
    ("receipts", "get"): READ,
    ("receipt", "get"): READ,
    ("entries", "get"): READ,
    ("entry", "get"): READ,
    ("grants", "get"): READ,
    ("packages", "get"): READ,
    ("topups", "get"): READ,
    ("topups", "post"): WRITE,
    ("topup", "get"): READ,
    ("payments", "get"): READ,
    ("payment", "get"): READ,
    ("codes", "post"): WRITE,
    ("usage", "get"): USAGE,
    ("notices", "get"): READ,
    ("notice_read", "post"): WRITE,
    ("preferences", "get"): ANY,
    ("preferences", "patch"): LOGIN,
    ("export_json", "get"): READ,
    ("export_csv", "get"): READ,
    ("staff_users", "get"): SEES_MONEY,
    ("staff_user", "get"): SEES_MONEY,
    ("staff_suspend", "post"): {SUPPORT},
    ("staff_restore", "post"): {SUPPORT},
    ("staff_end_logins", "post"): {SUPPORT},
    ("staff_audit", "get"): MONEY,
    ("staff_wallet", "get"): SEES_MONEY,
    ("staff_entries", "get"): SEES_MONEY,
    ("staff_adjust", "post"): MONEY,
    ("staff_adjustments", "get"): MONEY,
    ("staff_adjustment", "get"): MONEY,
    ("staff_adjustment_approve", "post"): MONEY,
    ("staff_adjustment_reject", "post"): MONEY,
    ("staff_refunds", "get"): SEES_MONEY,
    ("staff_refunds", "post"): SEES_MONEY,
    ("staff_refund", "get"): SEES_MONEY,
    ("staff_refund_approve", "post"): MONEY,
    ("staff_refund_reject", "post"): MONEY,
    ("staff_codes", "get"): MONEY,
    ("staff_codes", "post"): MONEY,
    ("staff_stocks", "post"): MONEY,
    ("staff_code_approve", "post"): MONEY,
    ("staff_code_withdraw", "post"): MONEY,
    ("staff_prices", "get"): MONEY,
    ("staff_prices", "post"): MONEY,
    ("models", "get"): CHAT,
    ("model", "get"): CHAT,
    ("estimate", "post"): CHAT,
    ("generations", "get"): CHAT,
    ("generations", "post"): CHAT,
    ("generation", "get"): CHAT,
    ("generation_cancel", "post"): CHAT,
    ("generation_events", "get"): CHAT,
    ("system_prompts", "get"): CHAT,
    ("system_prompts", "post"): CHAT,
    ("system_prompt", "get"): CHAT,
    ("system_prompt", "patch"): CHAT,
    ("system_prompt", "delete"): CHAT,
    ("conversations", "get"): CHAT,
    ("conversations", "post"): CHAT,
    ("conversation", "get"): CHAT,
    ("conversation", "patch"): CHAT,
    ("conversation", "delete"): CHAT,
    ("messages", "get"): CHAT,
    ("messages", "post"): CHAT,
    ("message", "patch"): CHAT,
    ("message", "delete"): CHAT,
    ("message_select", "post"): CHAT,
    ("message_regenerate", "post"): CHAT,
    ("message_continue", "post"): CHAT,
    ("conversation_stop", "post"): CHAT,
    ("conversation_branch", "post"): CHAT,
    ("conversation_export", "get"): CHAT,
    ("conversation_links", "get"): CHAT,
    ("conversation_links", "post"): CHAT,
    ("conversation_link", "delete"): CHAT,
    ("ops_health", "get"): OPERATORS,
    ("ops_system", "get"): OPERATORS,
    ("ops_models", "get"): OPERATORS,
    ("ops_workers", "get"): OPERATORS,
    ("ops_queues", "get"): OPERATORS,
    ("ops_answer_cache", "get"): OPERATORS,
    ("report_revenue", "get"): MONEY,
    ("report_usage", "get"): MONEY | OPERATORS,
    ("report_models", "get"): MONEY | OPERATORS,
    ("report_performance", "get"): OPERATORS,
    ("report_incidents", "get"): MONEY | OPERATORS,
    ("unknown", "get"): NOTHING,
    ("unknown", "post"): NOTHING,
}
EVERYBODYS = {"model"}  # an identifier in the path that is nobody's own


def test_every_path_is_in_the_table_and_nothing_else():
    there = {(route.name, method) for route in routes() for method in methods_of(route)}
    assert there - TABLE.keys() == set()
    assert TABLE.keys() - there == set()


@pytest.fixture
def world(alice, charlie, staff, talk, login, with_key, api, settings, monkeypatch):
    """Clients by who they are, and the identifiers of alice's things."""
    for module in (
        "core.async_queries",
        "billing.reporting.exports",
        "inference.api.views",
    ):  # a stream gives its connection back; not in this transaction
        monkeypatch.setattr(f"{module}.connection", mock.Mock())
    settings.API_USER_REQUESTS_PER_MINUTE = settings.API_KEY_REQUESTS_PER_MINUTE = 10**6
    settings.API_ADDRESS_REQUESTS_PER_MINUTE = 10**6
    hold = ledger.settle(hold_id=open_hold(alice).pk, completion_tokens=3)
    topup = start_topup(user=alice, offer=offer_of_amount(500), idempotency_key="k")
    play(topup=topup, action="pay")
    clients = {"anonymous": api, "customer": login(alice), "other customer": login(charlie), "superuser": login(staff)}
    clients["superuser's key"] = with_key(staff)
    for role in (SUPPORT, FINANCE, OPERATOR):
        user = UserFactory.create(email=f"{role}@example.com", is_staff=True)
        user.groups.add(Group.objects.get(name=role))
        clients[role] = login(user)
    suspended = UserFactory.create(email="suspended@example.com")
    clients["suspended"], clients["suspended's key"] = login(suspended), with_key(suspended)
    User.objects.filter(pk=suspended.pk).update(is_active=False)
    for scope in Scope.values:
        clients[f"key without {scope}"] = with_key(alice, *[other for other in Scope.values if other != scope])
        clients[f"key with {scope}"] = with_key(alice, scope)
    refund = requests.request_refund(by=staff, amount=1, reason="r", idempotency_key="k", hold=hold)
    adjustment = adjustments.adjust_credits(
        user=alice, amount_microcredits=1, idempotency_key="k", reason="r", by=staff
    )
    things = {
        "key_id": with_key(alice).key.pk,
        "session_id": clients["customer"].session_row.pk,
        "hold_id": hold.pk,
        "entry_id": hold.entries.first().pk,
        "topup_id": topup.pk,
        "user_id": alice.pk,
        "key": talk.model_id,
        "conversation_id": talk.pk,
        "message_id": talk.messages.last().pk,
        "generation_id": talk.messages.last().generation_id,
        "link_id": share_conversation(conversation=talk, days=7, key=uuid4()).pk,
        "prompt_id": save_prompt(user=alice, name="Fox", text="Be a fox.").pk,
        "notice_id": Notice.objects.create(user=alice, name="low_balance", path="/credits/").pk,
        "refund_id": refund.pk,
        "adjustment_id": adjustment.pk,
        "code_id": PromotionCode.objects.create(code="X", credits_microcredits=CREDIT).pk,
    }
    return clients, things


def expected(who: str, rule: Rule, is_hers: bool) -> str:
    """ "in", 401, 403 or 404."""
    if rule in (PUBLIC, NOTHING):
        return "in" if rule == PUBLIC else "404"
    if who == "anonymous" or who.startswith("suspended"):
        return "401"
    if isinstance(rule, set):
        return "in" if who in rule | {"superuser"} else "403"
    if who.startswith("key with") or who == "superuser's key":
        if rule == LOGIN or (rule != ANY and who == f"key without {rule}"):
            return "403"
        if rule != ANY and who.startswith("key with ") and who != f"key with {rule}":
            return "403"
    is_somebody_else = who not in ("customer",) and not who.startswith("key with")
    return "404" if is_hers and is_somebody_else else "in"


def outcome(status: int) -> str:
    return str(status) if status in (401, 403, 404, 405) or status >= 500 else "in"


def test_everybody_may_do_what_the_table_says_and_nothing_else(world):
    clients, things = world
    bodies = {"conversation_branch": {"message_id": things["message_id"]}}  # it looks at the body first
    wrong, calls = [], 0
    for route in routes():
        names = list(route.pattern.converters)
        path = (
            "/api/v1/nothing"
            if route.name == "unknown"
            else reverse(f"api:{route.name}", kwargs={name: things[name] for name in names})
        )
        is_hers = bool(names) and "/admin/" not in path and route.name not in EVERYBODYS
        for method in methods_of(route):
            rule = TABLE[route.name, method]
            for who, client in clients.items():
                admin().flushdb()
                with transaction.atomic():
                    body = bodies.get(route.name, {}) if method in ("post", "patch", "put") else None
                    answer = getattr(client, method)(path, body)
                    transaction.set_rollback(True)
                calls += 1
                should, did = expected(who, rule, is_hers), outcome(answer.status_code)
                if did != should:
                    wrong.append(f"{who}: {method} {path} is {answer.status_code}, should be {should}")
    assert wrong == []
    assert calls == len(TABLE) * len(clients)
