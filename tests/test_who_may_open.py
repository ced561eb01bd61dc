"""Who may open what outside `/api/v1/` and the admin, which have tables of their own: every method of every page.

A page that is not here fails.
"""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from allauth.usersessions.models import UserSession
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import URLPattern, get_resolver, reverse
from django.utils import timezone

from accounts import api_keys
from accounts.login.sessions import open_session
from accounts.models import Scope, User
from accounts.staff.roles import FINANCE, OPERATOR, SUPPORT
from billing.models import SavedCard
from billing.topups.orders import offer_of_amount, start_topup
from chat.saved_prompts import save_prompt
from chat.transfer.sharing import share_conversation
from monitoring.models import Alert, AlertState
from tests.support.cast import UserFactory, answered_talk
from tests.support.databases.redis_admin import admin

PUBLIC, LOGIN, HERS, CHAT, NOTHING = "public", "log-in", "hers alone", "log-in or key with chat", "nothing there"
OPERATORS, PROXY = "operators alone", "operators alone, and nobody is led to a log-in"
REPORTS = "finance and operators"
WITH_APP = "whoever has an app: alice and the staff"
GET, POST, BOTH = ("get",), ("post",), ("get", "post")
OWN_TABLE = {"api", "admin"}  # tests/api/test_who_may.py, tests/accounts/staff/test_roles.py

TABLE: dict[str, tuple[tuple[str, ...], str]] = {
    "account_login": (BOTH, PUBLIC),
    "account_logout": (BOTH, PUBLIC),
    "account_inactive": (GET, PUBLIC),
    "account_signup": (BOTH, PUBLIC),
    "account_open_login": (BOTH, PUBLIC),
    "account_reauthenticate": (BOTH, LOGIN),
    "account_email": (BOTH, LOGIN),
    "account_email_verification_sent": (GET, PUBLIC),
    "account_change_password": (BOTH, LOGIN),
    "account_set_password": (BOTH, LOGIN),
    "account_reset_password": (BOTH, PUBLIC),
    "account_confirm_login_code": (BOTH, PUBLIC),
    "account_confirm_email": (GET, PUBLIC),
    "account_reset_password_from_key_done": (GET, PUBLIC),
    "account_reset_password_from_key": (BOTH, PUBLIC),
    "account_reset_password_done": (GET, PUBLIC),
    "choose_language": (POST, PUBLIC),
    "billing:overview": (GET, LOGIN),
    "billing:export_csv": (GET, LOGIN),
    "billing:export_json": (GET, LOGIN),
    "billing:usage": (GET, LOGIN),
    "billing:who_pays": (GET, PUBLIC),
    "billing:buy": (GET, LOGIN),
    "billing:redeem": (POST, LOGIN),
    "billing:order": (POST, LOGIN),
    "billing:topup": (GET, HERS),
    "billing:sandbox": (BOTH, HERS),
    "billing:spending": (GET, LOGIN),
    "billing:set_alert": (POST, LOGIN),
    "billing:set_cap": (POST, LOGIN),
    "billing:set_automatic": (POST, LOGIN),
    "billing:stop_automatic": (POST, LOGIN),
    "billing:save_card": (POST, LOGIN),
    "billing:refresh_card": (POST, LOGIN),
    "billing:remove_card": (POST, LOGIN),
    "billing:sandbox_card": (BOTH, HERS),
    "billing:statements": (GET, LOGIN),
    "billing:statement": (GET, LOGIN),
    "billing:statement_csv": (GET, LOGIN),
    "billing:receipt": (GET, HERS),
    "billing:stripe_webhook": (POST, PUBLIC),  # it believes signatures alone
    "usersessions_list": (BOTH, PUBLIC),  # redirects to the list among the settings
    "mfa_index": (GET, LOGIN),
    "mfa_authenticate": (BOTH, PUBLIC),
    "mfa_reauthenticate": (BOTH, LOGIN),
    "mfa_activate_totp": (BOTH, LOGIN),
    "mfa_deactivate_totp": (BOTH, WITH_APP),
    "mfa_view_recovery_codes": (GET, HERS),
    "mfa_generate_recovery_codes": (BOTH, LOGIN),
    "mfa_download_recovery_codes": (GET, HERS),
    "mfa_list_webauthn": (BOTH, PUBLIC),  # redirects to mfa_index
    "mfa_add_webauthn": (BOTH, LOGIN),
    "mfa_reauthenticate_webauthn": (BOTH, LOGIN),
    "mfa_remove_webauthn": (BOTH, LOGIN),
    "mfa_edit_webauthn": (BOTH, LOGIN),
    "settings:profile": (BOTH, LOGIN),
    "settings:signing_in": (GET, LOGIN),
    "settings:devices": (GET, LOGIN),
    "settings:end_all_others": (POST, LOGIN),
    "settings:end_browser": (POST, HERS),
    "settings:end_program": (POST, HERS),
    "settings:notifications": (BOTH, LOGIN),
    "settings:data": (BOTH, LOGIN),
    "settings:archive": (GET, LOGIN),  # asks for the password first; then others get 404
    "settings:delete": (BOTH, LOGIN),
    "settings:keep": (POST, LOGIN),
    "settings:keys": (GET, LOGIN),
    "settings:new_key": (BOTH, LOGIN),
    "settings:key": (BOTH, LOGIN),  # asks for the password first; then others get 404
    "settings:rotate_key": (BOTH, LOGIN),
    "settings:revoke_key": (BOTH, LOGIN),
    "openai:models": (GET, CHAT),
    "openai:model": (GET, CHAT),
    "openai:chat_completions": (POST, CHAT),
    "openai:completions": (POST, CHAT),
    "openai:unknown": (BOTH, NOTHING),
    "healthz": (GET, PUBLIC),
    "readyz": (GET, PUBLIC),
    "metrics": (GET, NOTHING),  # unless the settings name a token or networks: tests/monitoring/prometheus
    "monitoring:status": (GET, PUBLIC),
    "monitoring:operations": (GET, OPERATORS),
    "monitoring:reports": (GET, REPORTS),
    "monitoring:report": (GET, REPORTS),  # of usage; each report for each role: tests/monitoring/reports/test_pages.py
    "monitoring:report_file": (GET, REPORTS),
    "monitoring:flower": (GET, OPERATORS),
    "monitoring:flower_entrance": (GET, PROXY),
    "monitoring:alerts": (GET, OPERATORS),
    "monitoring:alert": (GET, OPERATORS),
    "monitoring:acknowledge": (POST, OPERATORS),
    "monitoring:resolve": (POST, OPERATORS),
    "monitoring:mute": (POST, OPERATORS),
    "monitoring:unmute": (POST, OPERATORS),
    "monitoring:note": (POST, OPERATORS),
    "monitoring:runbook": (GET, OPERATORS),
    "chat:terms": (GET, PUBLIC),
    "chat:privacy": (GET, PUBLIC),
    "chat:home": (GET, PUBLIC),  # strangers see the landing page
    "chat:pricing": (GET, PUBLIC),
    "chat:manifest": (GET, PUBLIC),
    "chat:service_worker": (GET, PUBLIC),
    "chat:offline": (GET, PUBLIC),
    "chat:send_new": (POST, LOGIN),
    "chat:estimate_new": (POST, LOGIN),
    "chat:estimate": (POST, HERS),
    "chat:conversation": (GET, HERS),
    "chat:send": (POST, HERS),
    "chat:older": (GET, LOGIN),
    "chat:archive": (GET, LOGIN),
    "chat:search": (GET, LOGIN),
    "chat:links": (GET, LOGIN),
    "chat:share": (BOTH, HERS),
    "chat:revoke": (POST, HERS),
    "chat:shared": (GET, PUBLIC),
    "chat:import": (BOTH, LOGIN),
    "chat:prompts": (BOTH, LOGIN),
    "chat:pick_prompt": (GET, LOGIN),
    "chat:prompt": (BOTH, HERS),
    "chat:delete_prompt": (POST, HERS),
    "chat:export": (GET, HERS),
    "chat:download": (GET, HERS),
    "chat:hit": (GET, HERS),
    "chat:rename": (BOTH, HERS),
    "chat:pin": (POST, HERS),
    "chat:unpin": (POST, HERS),
    "chat:put_away": (POST, HERS),
    "chat:take_back": (POST, HERS),
    "chat:delete": (POST, HERS),
    "chat:restore": (POST, HERS),
    "chat:retry": (BOTH, HERS),
    "chat:continue": (BOTH, HERS),
    "chat:edit": (BOTH, HERS),
    "chat:delete_exchange": (BOTH, HERS),
    "chat:select": (POST, HERS),
    "chat:rate": (POST, HERS),
    "chat:events": (GET, HERS),
    "chat:stop": (POST, HERS),
}


def routes(patterns: Any = None, space: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Every pattern outside the namespaces that have their own table, by its name."""
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(entry, URLPattern):
            yield f"{space}{entry.name}", entry
        elif entry.namespace not in OWN_TABLE:
            yield from routes(entry.url_patterns, f"{entry.namespace}:" if entry.namespace else space)


def test_every_page_is_in_the_table_and_nothing_else():
    assert {name for name, _route in routes()} == TABLE.keys()


@pytest.fixture
def clients(alice, charlie, staff, rf):
    """By who they are: with a session for pages, and a token or key in the header for the API."""

    def log_in(user):
        client = Client(
            headers={
                "authorization": f"Bearer {open_session(user=user, request=rf.post('/'), is_confirmed=True).access}"
            }
        )
        client.force_login(user)
        return client

    def with_key(user, *scopes):
        return Client(
            headers={"authorization": f"Bearer {api_keys.create_key(user=user, name='k', scopes=list(scopes))[1]}"}
        )

    suspended = UserFactory.create(email="suspended@example.com")
    made = {
        "anonymous": Client(),
        "customer": log_in(alice),
        "other customer": log_in(charlie),
        "superuser": log_in(staff),
        "key without chat": with_key(alice, *[scope for scope in Scope.values if scope != Scope.CHAT]),
        "key with chat": with_key(alice, Scope.CHAT),
        "suspended": log_in(suspended),
        "suspended's key": with_key(suspended, Scope.CHAT),
    }
    User.objects.filter(pk=suspended.pk).update(is_active=False)
    for role in (SUPPORT, FINANCE, OPERATOR):
        user = UserFactory.create(email=f"{role}@example.com", is_staff=True)
        user.groups.add(Group.objects.get(name=role))
        made[role] = log_in(user)
    return made


@pytest.fixture
def things(alice, catalogue, settings, monkeypatch, rf):
    """Something of alice's for each name in a path."""
    settings.PAYMENT_PROVIDERS |= {"stripe": "billing.stripe.provider.StripeProvider"}
    settings.STRIPE_WEBHOOK_SECRET = "whsec_x"
    settings.TERMS = settings.PRIVACY = "Words."
    settings.METRICS_NETWORKS = ()
    monkeypatch.setattr("monitoring.views.unserved_models", list)  # no GPU worker runs here
    talk = answered_talk(alice, catalogue)
    message = talk.messages.last()
    shared = share_conversation(conversation=talk, days=None, key=uuid4())
    TOTP.activate(alice, generate_totp_secret())
    RecoveryCodes.activate(alice)
    return {
        "hold_id": message.generation.hold_id,
        "generation_id": message.generation_id,
        "conversation_id": talk.pk,
        "message_id": message.pk,
        "question_id": talk.messages.first().pk,
        "link_id": shared.pk,
        "token": shared.token,
        "topup_id": start_topup(user=alice, offer=offer_of_amount(500), idempotency_key="k").pk,
        "card_id": SavedCard.objects.create(wallet=alice.wallet, provider="sandbox").pk,
        "month": timezone.now().date().replace(day=1),
        "row_id": UserSession.objects.create(user=alice, session_key="elsewhere", ip="127.0.0.1").pk,
        "session_id": open_session(user=alice, request=rf.post("/")).session.pk,
        "archive_id": uuid4(),
        "alert_id": Alert.objects.create(
            rule="disk",
            state=AlertState.OPEN,
            is_critical=True,
            detail="full",
            over_since=timezone.now(),
            opened_at=timezone.now(),
        ).pk,
        "prompt_id": save_prompt(user=alice, name="Fox", text="Be a fox.").pk,
        "key_id": api_keys.create_key(user=alice, name="k", scopes=[Scope.CHAT])[0].pk,
    }


def path_of(name: str, route: URLPattern, things: dict[str, Any]) -> str:
    """The path of a page, about something of alice's."""
    others: dict[str, dict[str, Any]] = {
        "account_confirm_email": {"key": "x"},
        "account_open_login": {"token": "x"},
        "mfa_remove_webauthn": {"pk": 1},  # the password is asked for first
        "mfa_edit_webauthn": {"pk": 1},
        "account_reset_password_from_key": {"uidb36": "1", "key": "x-y"},
    }
    if name == "openai:unknown":
        return "/v1/nothing"
    if name == "openai:model":
        return reverse(name, kwargs={"key": "gemma-3-270m"})
    if name.startswith("monitoring:report"):
        of_usage = {"name": "usage", "form": "csv"}
        return reverse(name, kwargs={part: of_usage[part] for part in route.pattern.converters})
    if name == "chat:edit":  # of prompts alone
        return reverse(name, args=[things["question_id"]])
    if name == "chat:download":
        return reverse(name, kwargs={"conversation_id": things["conversation_id"], "kind": "md"})
    return reverse(name, kwargs=others.get(name) or {part: things[part] for part in route.pattern.converters})


def expected(who: str, rule: str) -> str:
    """ "in", "log in", 401, 403 or 404."""
    is_outside = who == "anonymous" or who.startswith("suspended")
    if rule == PUBLIC:
        return "in"
    if rule == CHAT:
        return "401" if is_outside else "403" if who == "key without chat" else "in"
    if rule == NOTHING:
        return "404"
    if rule == PROXY:
        return "in" if who in (OPERATOR, "superuser") else "401" if is_outside or who.startswith("key") else "403"
    if is_outside or who.startswith("key"):
        return "log in"
    if rule == WITH_APP:
        return "404" if who == "other customer" else "in"
    if rule == OPERATORS:
        return "in" if who in (OPERATOR, "superuser") else "403"
    if rule == REPORTS:
        return "in" if who in (FINANCE, OPERATOR, "superuser") else "403"
    return "404" if rule == HERS and who != "customer" else "in"


def outcome(answer: Any) -> str:
    """The same words for an answer."""
    to = answer.headers.get("Location", "") + answer.headers.get("HX-Redirect", "")
    if "/accounts/login/?next=" in to:
        return "log in"
    status = answer.status_code
    return str(status) if status in (401, 403, 404, 405) or status >= 500 else "in"


@pytest.mark.django_db(transaction=True)
def test_head_opens_what_get_opens(clients, things):
    wrong = []
    for name, route in routes():
        path = path_of(name, route, things)
        if "get" not in TABLE[name][0]:
            continue
        for who in ("anonymous", "customer"):
            admin().flushdb()
            got, headed = clients[who].get(path), clients[who].head(path)
            if got.status_code != headed.status_code:
                wrong.append(f"{who}: {path} is {got.status_code} to GET and {headed.status_code} to HEAD")
    assert wrong == [], "\n".join(wrong)


@pytest.mark.django_db(transaction=True)
def test_everybody_opens_what_the_table_says_and_nothing_else(clients, things):
    wrong = []
    # They end what the others are about.
    last = {
        "chat:delete_exchange": 1,
        "chat:delete": 2,
        "chat:delete_prompt": 2,
        "chat:restore": 3,
        "billing:remove_card": 4,
        "settings:end_all_others": 5,
        "account_logout": 6,
    }
    for name, route in sorted(routes(), key=lambda one: last.get(one[0], 0)):
        path = path_of(name, route, things)
        methods, rule = TABLE[name]
        for method in methods:
            for who, client in clients.items():
                admin().flushdb()
                answer = getattr(client, method)(path)
                did, should = outcome(answer), expected(who, rule)
                if did != should:
                    wrong.append(f"{who}: {method} {path} is {did} ({answer.status_code}), should be {should}")
    assert wrong == [], "\n".join(wrong)


@pytest.mark.django_db(transaction=True)
def test_other_methods_are_refused(clients, things):
    client = clients["customer"]
    wrong = []
    for name, route in routes():
        methods, rule = TABLE[name]
        for method in {"get", "post", "put", "patch", "delete"} - set(methods):
            is_library = name.startswith(("account_", "mfa_", "usersessions_"))
            answer = getattr(client, method)(path_of(name, route, things))
            if not is_library and rule != NOTHING and answer.status_code != 405:
                wrong.append(f"{method} {name} is {answer.status_code}")
    assert wrong == [], "\n".join(wrong)
