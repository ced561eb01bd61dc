"""Who of the staff may open what in the admin: every page of it, for every role, is allowed or 403."""

from typing import Any
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.test import Client, RequestFactory
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from accounts import audit
from accounts.api_keys import create_key
from accounts.login.sessions import open_session
from accounts.models import Scope, User
from accounts.staff import roles
from accounts.staff.roles import FINANCE, OPERATOR, ROLES, SUPPORT, UnknownPermission
from billing import adjustments
from billing.models import LedgerEntry, Package, PaymentEvent, Price, PromotionCode, Refund, Wallet
from billing.refunds import requests
from billing.topups import packages
from chat.models import Conversation
from inference.models import CatalogueModel, Generation
from tests.billing.grants import spend
from tests.billing.orders import complete, order
from tests.support.cast import CREDIT, UserFactory

SUPERUSER, NO_ROLE = "superuser", "no role"
EVERY_ROLE = (SUPPORT, FINANCE, OPERATOR, SUPERUSER, NO_ROLE)
NOBODY: set[str] = set()
ALL = {SUPPORT, FINANCE, OPERATOR, SUPERUSER}
SEES_MONEY = {SUPPORT, FINANCE, SUPERUSER}
MONEY = {FINANCE, SUPERUSER}
SUSPENDS = {SUPPORT, SUPERUSER}
CATALOGUE = {OPERATOR, SUPERUSER}
BOSS = {SUPERUSER}


def pages(see, add=NOBODY, change=NOBODY, delete=NOBODY, **others):
    """Who may open the pages of one model. `change` is who may save; whoever sees may open it to read."""
    return {
        "changelist": see,
        "csv": see,
        "change": see,
        "history": see,
        "add": add,
        "delete": delete,
        "save": change,
        **others,
    }


# Every model of the admin, and every page of it. A page that is not here fails the test below.
TABLE = {
    "accounts_user": pages(
        SEES_MONEY,
        add=BOSS,
        change=BOSS,
        password_change=BOSS,
        **dict.fromkeys(("suspend", "restore", "end_logins", "reset_factor"), SUSPENDS),
    ),
    "accounts_apikey": pages(SEES_MONEY),
    "accounts_apisession": pages(SUSPENDS),
    "accounts_auditevent": pages(MONEY),
    "auth_group": pages(BOSS, add=BOSS, change=BOSS, delete=BOSS),
    "account_emailaddress": pages(BOSS, add=BOSS, change=BOSS, delete=BOSS),
    "billing_wallet": pages(SEES_MONEY, adjust=MONEY, grant=MONEY),
    "billing_adjustment": pages(MONEY),
    "billing_ledgerentry": pages(SEES_MONEY),
    "billing_grant": pages(SEES_MONEY),
    "billing_hold": pages(SEES_MONEY, refund=SEES_MONEY),
    "billing_topup": pages(SEES_MONEY, refund=MONEY),
    "billing_refund": pages(SEES_MONEY),
    "billing_paymentevent": pages(MONEY),
    "billing_price": pages(MONEY, add=MONEY),
    "billing_package": pages(MONEY, add=MONEY, change=MONEY),
    "billing_promotioncode": pages(MONEY, add=MONEY, change=MONEY, generate=MONEY, stock=MONEY),
    "inference_cataloguemodel": pages(CATALOGUE, add=CATALOGUE, change=CATALOGUE, delete=BOSS),
    "inference_generation": pages(ALL, release={SUPPORT, OPERATOR, SUPERUSER}),
    "chat_conversation": pages({SUPPORT, SUPERUSER}, read={SUPPORT, SUPERUSER}),
    "chat_ratedmodel": pages({SUPPORT, OPERATOR, SUPERUSER}),
}
OTHER_PAGES: dict[str, dict[str, Any]] = {
    "index": {},
    "password_change": {},
    "password_change_done": {},
    "autocomplete": {},
    "jsi18n": {},
    "view_on_site": {"content_type_id": 1, "object_id": 1},
    "app_list": {"app_label": "billing"},
    "find": {},
    "approvals": {},
    "approval": {},
    "customer": {},
}
WITHOUT_OBJECT = {"changelist", "csv", "add", "generate", "stock"}


def member(role):
    user = UserFactory.create(
        email=f"{role.replace(' ', '-')}@example.com", is_staff=True, is_superuser=role == SUPERUSER
    )
    if role in ROLES:
        user.groups.add(Group.objects.get(name=role))
    return user


@pytest.fixture
def objects(alice, staff):
    """One object of each model of the admin."""
    audit.record(actor=staff, action="a test", subject=alice)
    packages.seed_packages()
    topup = order(alice)
    complete(topup)
    hold = spend(alice, 10)
    requests.request_refund(by=staff, amount=1, reason="A test", idempotency_key="k", hold=hold)
    adjustments.adjust_credits(user=alice, amount_microcredits=1, idempotency_key="k", reason="A test", by=staff)
    PaymentEvent.objects.create(provider="bank", event_id="evt_1", type="paid", payload={})
    PromotionCode.objects.create(code="WELCOME", credits_microcredits=CREDIT, batch="fair")
    model = CatalogueModel.objects.first()
    Conversation.objects.create(user=alice, title="Roles", model=model)
    create_key(user=alice, name="k", scopes=[Scope.CHAT])
    open_session(user=alice, request=RequestFactory().post("/"))
    Generation.objects.create(
        user=alice,
        model=model,
        hold_id=hold.pk,
        prompt_token_ids=[1],
        prompt_tokens=1,
        max_completion_tokens=1,
        requested_completion_tokens=1,
        temperature=0,
        top_p=1,
        top_k=1,
        seed=1,
        idempotency_key=str(uuid4()),
    )
    return {
        f"{model._meta.app_label}_{model._meta.model_name}": model._default_manager.order_by("pk").first()
        for model in admin.site._registry
    }


def url_of(name, page, found):
    """Where a page is, with the one object that it is about."""
    if page == "save":
        page = "change"
    if page == "stock":
        return reverse(f"admin:{name}_{page}") + "?batch=fair"
    try:
        return reverse(f"admin:{name}_{page}", args=[] if page in WITHOUT_OBJECT else [found.pk])
    except NoReverseMatch:
        return reverse(f"admin:auth_user_{page}", args=[found.pk])


def other_url(name):
    """Where one of the other pages is; of customers, that of alice."""
    arguments = OTHER_PAGES[name]
    if name == "customer":
        arguments = {"user_id": User.objects.get(email="alice@example.com").pk}
    if name == "approval":
        arguments = {"kind": "refund", "row_id": Refund.objects.get().pk}
    return reverse(f"admin:{name}", kwargs=arguments)


def test_every_page_of_the_admin_is_in_the_table():
    urls = set()
    for model, model_admin in admin.site._registry.items():
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        for pattern in model_admin.get_urls():
            if pattern.name is not None:
                urls.add((name, pattern.name.removeprefix(f"{name}_").removeprefix("auth_user_")))
    known = {(name, page) for name, known_pages in TABLE.items() for page in known_pages if page != "save"}
    assert urls == known


@pytest.mark.parametrize("role", EVERY_ROLE)
def test_each_role_opens_just_its_pages(client, objects, role):
    client.force_login(member(role))
    assert client.get(reverse("admin:index")).status_code == 200
    seen, wanted = {}, {}
    for name, allowed in TABLE.items():
        assert objects[name] is not None, name
        for page, who in allowed.items():
            if page != "save":
                answer = client.get(url_of(name, page, objects[name]))
                seen[f"{name} {page}"] = answer.status_code
                wanted[f"{name} {page}"] = 200 if role in who else 403
    assert {page: seen[page] for page in seen if seen[page] != wanted[page]} == {}


@pytest.mark.parametrize("role", EVERY_ROLE)
def test_what_every_role_finds_on_the_other_pages(client, objects, role):
    client.force_login(member(role))
    answers = {name: client.get(other_url(name)).status_code for name in OTHER_PAGES}
    sees_billing = role in {
        name for table, allowed in TABLE.items() if "billing_" in table for name in allowed["changelist"]
    }
    assert answers == {
        "index": 200,
        "password_change": 200,
        "password_change_done": 200,
        "autocomplete": 403,  # of nothing
        "jsi18n": 200,
        "view_on_site": 404,  # no model of ours has a page for everybody
        "app_list": 200 if sees_billing else 404,
        "find": 200 if role in SEES_MONEY else 403,
        "customer": 200 if role in SEES_MONEY else 403,
        "approvals": 200 if role in SEES_MONEY else 403,
        "approval": 200 if role in SEES_MONEY else 403,
    }


@pytest.mark.parametrize("role", EVERY_ROLE)
def test_each_role_saves_and_deletes_just_what_it_may(client, objects, role):
    client.force_login(member(role))
    seen, wanted = {}, {}
    for name, allowed in TABLE.items():
        for page in ("save", "add", "delete"):
            if role not in allowed[page]:  # what is allowed has its own tests
                data = {"post": "yes"} if page == "delete" else {}
                seen[f"{name} {page}"] = client.post(url_of(name, page, objects[name]), data).status_code
                wanted[f"{name} {page}"] = 403
    assert seen == wanted


@pytest.fixture(params=["anonymous", "customer", "other customer", "suspended staff", "superuser's key"])
def outsider(request, client, alice, charlie, staff):
    """Somebody who does not work here, or not any more, or who comes with a key."""
    if request.param == "superuser's key":
        return Client(headers={"authorization": f"Bearer {create_key(user=staff, name='k', scopes=Scope.values)[1]}"})
    who = {"customer": alice, "other customer": charlie, "suspended staff": staff}.get(request.param)
    if who is not None:
        client.force_login(who)
    if who is staff:
        User.objects.filter(pk=staff.pk).update(is_active=False)
    return client


def test_whoever_is_no_staff_is_shown_the_log_in_and_nothing_else(outsider, objects):
    found = [url_of(name, page, objects[name]) for name, allowed in TABLE.items() for page in allowed]
    for url in [*found, *map(other_url, OTHER_PAGES)]:
        for method in (outsider.get, outsider.post):
            answer = method(url)
            assert (answer.status_code, "/login/" in answer["Location"]) == (302, True), url


def test_every_other_page_of_the_admin_is_known():
    names = {pattern.name for pattern in admin.site.get_urls() if getattr(pattern, "name", None)}
    assert names == OTHER_PAGES.keys() | {"login", "logout"}


@pytest.mark.parametrize("role", EVERY_ROLE)
def test_a_refund_that_support_asks_for_waits_for_finance(client, alice, objects, role):
    client.force_login(member(role))
    before = Wallet.objects.get(user=alice).balance_microcredits
    fields = {
        "amount": "0.0001",
        "reason": "Answer failed or unusable",
        "idempotency_key": uuid4(),
        "confirmed": "true",
    }
    client.post(reverse("admin:billing_hold_refund", args=[objects["billing_hold"].pk]), fields)
    made = Refund.objects.filter(reason="Answer failed or unusable").values_list("state", flat=True)
    assert list(made) == {SUPPORT: ["waiting"], FINANCE: ["done"], SUPERUSER: ["done"]}.get(role, [])
    gained = Wallet.objects.get(user=alice).balance_microcredits - before
    assert gained == (100 if role in MONEY else 0)


@pytest.mark.parametrize("role", EVERY_ROLE)
@pytest.mark.parametrize("action", ["approve", "reject", "try_again"])
def test_only_finance_decides_on_refunds(client, objects, role, action):
    asking = UserFactory.create(email="asking@example.com", is_staff=True)
    hold = objects["billing_hold"]
    waiting = requests.request_refund(by=asking, amount=1, reason="Asked", idempotency_key="w", hold=hold)
    client.force_login(member(role))
    client.post(reverse("admin:billing_refund_changelist"), {"action": action, "_selected_action": [waiting.pk]})
    waiting.refresh_from_db()
    decided = {"approve": "done", "reject": "rejected", "try_again": "waiting"}[action]
    assert waiting.state == (decided if role in MONEY else "waiting")


@pytest.mark.parametrize("role", EVERY_ROLE)
def test_only_finance_adjusts_credits_and_makes_codes(client, alice, objects, role):
    client.force_login(member(role))
    entries, codes = LedgerEntry.objects.count(), PromotionCode.objects.count()
    key = {"idempotency_key": uuid4(), "confirmed": "true"}
    adjust = reverse("admin:billing_wallet_adjust", args=[alice.wallet.pk])
    status = client.post(adjust, {"credits": "1", "reason": "Duplicate", **key}).status_code
    assert (status, LedgerEntry.objects.count() - entries) == ((302, 1) if role in MONEY else (403, 0))
    generate = reverse("admin:billing_promotioncode_generate")
    status = client.post(generate, {"batch": "new", "credits": "1", "count": "3", **key}).status_code
    assert (status, PromotionCode.objects.count() - codes) == ((302, 3) if role in MONEY else (403, 0))


@pytest.mark.parametrize("role", [FINANCE, SUPERUSER])
def test_a_price_gets_a_new_version_and_none_is_ever_edited(client, objects, role):
    user = member(role)
    client.force_login(user)
    before = Price.objects.count()
    moment = timezone.now()
    fields = {
        "model_key": "gemma-3-270m",
        "prompt_microcredits_per_token": "30",
        "completion_microcredits_per_token": "50",
        "effective_at_0": f"{moment:%Y-%m-%d}",
        "effective_at_1": f"{moment:%H:%M:%S}",
    }
    url = reverse("admin:billing_price_add")
    assert client.post(url, fields).status_code == 302
    added = Price.objects.latest("pk")
    assert (Price.objects.count() - before, added.created_by) == (1, user)
    again = client.post(url, fields)  # a double click
    assert (again.status_code, "errorlist" in again.content.decode()) == (200, True)
    assert client.post(url, fields | {"prompt_microcredits_per_token": "-1"}).status_code == 200
    edit = reverse("admin:billing_price_change", args=[added.pk])
    assert client.post(edit, fields | {"prompt_microcredits_per_token": "1"}).status_code == 403
    added.refresh_from_db()
    assert (added.prompt_microcredits_per_token, Price.objects.count() - before) == (30, 1)


def test_finance_changes_a_package_and_the_operator_a_model(client, objects):
    package, model = Package.objects.first(), CatalogueModel.objects.first()
    client.force_login(member(FINANCE))
    page = client.get(reverse("admin:billing_package_change", args=[package.pk]))
    fields = {name: value for name, value in page.context["adminform"].form.initial.items() if value is not None}
    client.post(reverse("admin:billing_package_change", args=[package.pk]), fields | {"name": "Tiny"})
    client.force_login(member(OPERATOR))
    page = client.get(reverse("admin:inference_cataloguemodel_change", args=[model.pk]))
    fields = {name: value for name, value in page.context["adminform"].form.initial.items() if value is not None}
    client.post(reverse("admin:inference_cataloguemodel_change", args=[model.pk]), fields | {"name": "Renamed"})
    package.refresh_from_db()
    model.refresh_from_db()
    assert (package.name, model.name) == ("Tiny", "Renamed")


def test_support_sees_no_password_hash_and_no_text_of_an_answer(client, objects, alice):
    Generation.objects.update(text="what alice was told", prompt_token_ids=[7331])
    client.force_login(member(SUPPORT))
    user_page = client.get(reverse("admin:accounts_user_change", args=[alice.pk])).content.decode()
    generation = objects["inference_generation"]
    page = client.get(reverse("admin:inference_generation_change", args=[generation.pk])).content.decode()
    assert alice.password.rpartition("$")[2] not in user_page
    assert "what alice was told" not in page
    assert "7331" not in page


def test_the_roles_are_made_by_migrate_and_made_good_by_the_command(db, capsys):
    assert set(Group.objects.values_list("name", flat=True)) == set(ROLES)
    Group.objects.get(name=SUPPORT).permissions.add(Permission.objects.get(codename="adjust_wallet"))
    Group.objects.get(name=FINANCE).delete()
    own = Group.objects.create(name="ours")
    own.permissions.add(Permission.objects.get(codename="view_price"))
    call_command("sync_roles")
    assert "finance: " in capsys.readouterr().out
    for name, permissions in ROLES.items():
        held = Group.objects.get(name=name).permissions.select_related("content_type")
        assert {f"{one.content_type.app_label}.{one.codename}" for one in held} == set(permissions)
    assert own.permissions.count() == 1


def test_a_role_with_a_permission_that_no_app_has_is_refused(db, monkeypatch):
    monkeypatch.setitem(ROLES, "jester", ("billing.mint_credits",))
    with pytest.raises(UnknownPermission, match=r"billing\.mint_credits"):
        roles.sync_roles()
    assert not Group.objects.filter(name="jester").exists()
