"""Nobody enters the admin, /ops/ or Flower by the password alone, whichever way they come."""

from urllib.parse import quote

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.signals import authenticator_added
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib.auth.models import Group
from django.core.checks import run_checks
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from accounts.login.sessions import open_session
from accounts.models import AuditEvent, User
from accounts.staff.entrance import is_confirmed
from accounts.staff.roles import OPERATOR, SUPPORT
from billing.management.commands.seed_demo import PASSWORD as DEMO_PASSWORD
from tests.accounts.pages.settings.looks import code_of
from tests.support.cast import PASSWORD, UserFactory, confirm_session
from tests.support.mailbox import read_mails

pytestmark = [pytest.mark.password_only, pytest.mark.django_db(transaction=True)]
ADMIN, OPS, FLOWER = "/admin/", "/ops/", "/ops/flower/"
INDEX, ACTIVATE, CODES = reverse("mfa_index"), reverse("mfa_activate_totp"), reverse("mfa_view_recovery_codes")
QUESTION = reverse("mfa_reauthenticate")
LOG_IN = reverse("account_login")
BY_PROXY = "/ops/flower/entrance/"


@pytest.fixture
def secret(staff):
    """Of the app of staff; there are recovery codes too."""
    text = generate_totp_secret()
    TOTP.activate(staff, text)
    RecoveryCodes.activate(staff)
    return text


def log_in(client, user, path=ADMIN):
    return client.post(f"{LOG_IN}?next={quote(path)}", {"login": user.email, "password": PASSWORD, "next": path})


def question(path):
    return f"{QUESTION}?next={quote(path, safe='')}"


@pytest.mark.parametrize("path", [ADMIN, OPS, FLOWER, "/admin/accounts/user/?q=x", "/admin/password_change/"])
def test_who_has_no_factor_is_led_to_set_one_up_and_comes_back(client, staff, path):
    assert log_in(client, staff, path).url == path
    assert client.get(path).url == INDEX
    assert "Whoever works here needs a second step" in client.get(INDEX).content.decode()
    assert client.get(ACTIVATE).url.startswith(reverse("account_reauthenticate"))
    client.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    secret = client.get(ACTIVATE).context["form"].secret
    assert client.post(ACTIVATE, {"code": code_of(secret)}).url == CODES
    assert f'href="{path}"' in client.get(CODES).content.decode()
    answer = client.get(path)
    assert (answer.status_code, answer.headers.get("Location")) in ((200, None), (302, "/flower/"))
    assert "Go on" not in client.get(INDEX).content.decode()


def test_the_log_in_asks_for_the_code_and_the_admin_not_again(client, staff, secret):
    assert client.get(ADMIN).url == f"/admin/login/?next={ADMIN}"
    assert client.get(client.get(ADMIN).url).url == f"{LOG_IN}?next=%2Fadmin%2F"
    assert log_in(client, staff).url.startswith(reverse("mfa_authenticate"))
    assert client.get(ADMIN).url == f"/admin/login/?next={ADMIN}"
    assert client.post(reverse("mfa_authenticate"), {"code": code_of(secret)}).url == ADMIN
    assert client.get(ADMIN).status_code == 200
    assert client.get(OPS).status_code == 200


def test_a_session_of_before_is_asked_once(client, staff, secret):
    client.force_login(staff)  # logged in before there was a factor, or remembered since then
    assert client.get("/admin/accounts/user/?q=x").url == question("/admin/accounts/user/?q=x")
    assert client.get("/credits/").status_code == 200  # what is the customer's own stays open
    answer = client.post(
        question("/admin/accounts/user/?q=x"), {"code": code_of(secret), "next": "/admin/accounts/user/?q=x"}
    )
    assert answer.url == "/admin/accounts/user/?q=x"
    assert [client.get(path).status_code for path in (answer.url, ADMIN, OPS)] == [200] * 3


def test_the_password_again_is_not_enough(client, staff, secret):
    client.force_login(staff)
    client.post(reverse("account_reauthenticate"), {"password": PASSWORD, "next": ADMIN})
    assert client.get(ADMIN).url == question(ADMIN)
    assert client.post(question(ADMIN), {"code": "000000"}).status_code == 200
    assert client.get(ADMIN).url == question(ADMIN)


@pytest.mark.parametrize("name", ["mfa_index", "mfa_view_recovery_codes", "mfa_download_recovery_codes"])
def test_a_session_by_password_alone_does_not_see_the_recovery_codes(client, staff, secret, name):
    client.force_login(staff)
    client.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    assert client.get(reverse(name)).url == question(reverse(name))


@pytest.mark.parametrize("name", ["mfa_deactivate_totp", "mfa_generate_recovery_codes", "mfa_add_webauthn"])
def test_a_session_by_password_alone_does_not_replace_the_factor(client, staff, secret, name):
    client.force_login(staff)
    client.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    before = list(Authenticator.objects.values_list("pk", "data"))
    assert client.post(reverse(name)).url.startswith(QUESTION)
    assert list(Authenticator.objects.values_list("pk", "data")) == before


def test_who_has_a_passkey_alone_is_asked_for_it(client, staff):
    Authenticator.objects.create(user=staff, type="webauthn", data={"name": "key", "credential": {}})
    client.force_login(staff)
    assert client.get(ADMIN).url == f"{reverse('mfa_reauthenticate_webauthn')}?next=%2Fadmin%2F"


def test_a_factor_that_is_gone_opens_nothing_any_more(client, staff, secret):
    client.force_login(staff)
    confirm_session(client, staff)
    assert client.get(ADMIN).status_code == 200
    Authenticator.objects.filter(user=staff).delete()  # in another browser, or by a colleague
    assert client.get(ADMIN).url == INDEX


def test_after_a_reset_of_the_password_the_code_is_wanted(client, staff, secret):
    client.post(reverse("account_reset_password"), {"email": staff.email})
    link = next(word for word in read_mails()[-1].body.split() if "/password/reset/key/" in word)
    form = client.get("/" + link.split("/", 3)[3]).url
    client.post(form, {"password1": "another good password", "password2": "another good password"})
    assert client.get(ADMIN).url.startswith("/admin/login/")
    client.post(LOG_IN, {"login": staff.email, "password": "another good password", "next": ADMIN})
    assert client.get(ADMIN).url.startswith("/admin/login/")
    client.post(reverse("mfa_authenticate"), {"code": code_of(secret)})
    assert client.get(ADMIN).status_code == 200


def test_a_part_of_a_page_leads_the_whole_window_to_the_question(client, staff, secret):
    client.force_login(staff)
    headers = {"HX-Request": "true", "HX-Current-URL": "http://testserver/ops/"}
    answer = client.get(OPS, headers=headers)
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (401, question(OPS))
    Authenticator.objects.all().delete()
    answer = client.get(OPS, headers=headers)
    assert answer.headers["HX-Redirect"] == INDEX


def test_a_form_is_not_carried_out_and_comes_back_to_its_page(client, staff, secret, alice):
    client.force_login(staff)
    page = f"/admin/accounts/user/{alice.pk}/suspend/"
    answer = client.post(page, {"reason": "x", "confirmed": "true"}, headers={"Referer": f"http://testserver{page}"})
    assert answer.url == question(page)
    assert User.objects.get(pk=alice.pk).is_active


def test_one_can_log_out_without_it(client, staff, secret):
    client.force_login(staff)
    assert client.post("/admin/logout/").status_code == 200
    assert client.get(ADMIN).url.startswith("/admin/login/")


def test_rights_without_the_mark_of_staff_want_it_too(client, catalogue):
    user = UserFactory.create(email="helper@example.com")
    user.groups.add(Group.objects.get(name=OPERATOR))
    client.force_login(user)
    assert client.get(OPS).url == INDEX


def test_customers_are_not_asked(client, alice):
    client.force_login(alice)
    assert client.get(OPS).status_code == 403
    assert client.get("/credits/").status_code == 200


def test_what_the_proxy_hears_of_flower(client, staff, secret, alice):
    def heard(client):
        answer = client.get(BY_PROXY)
        return answer.status_code, "Location" in answer.headers

    assert heard(client) == (401, False)
    client.force_login(alice)
    assert heard(client) == (403, False)
    client.force_login(staff)
    assert heard(client) == (401, False)
    confirm_session(client, staff)
    assert heard(client) == (204, False)
    User.objects.filter(pk=staff.pk).update(is_active=False)
    assert heard(client) == (401, False)


def test_support_does_not_enter_flower(client, catalogue):
    user = UserFactory.create(email="support@example.com", is_staff=True)
    user.groups.add(Group.objects.get(name=SUPPORT))
    client.force_login(user)
    confirm_session(client, user)
    assert [client.get(path).status_code for path in (BY_PROXY, FLOWER)] == [403, 403]


def test_a_log_in_by_the_api_without_it_does_nothing_as_staff(staff, rf):
    for with_code, status in ((False, 403), (True, 200)):
        pair = open_session(user=staff, request=rf.post("/"), is_confirmed=with_code)
        client = Client(headers={"authorization": f"Bearer {pair.access}"})
        answer = client.get("/api/v1/admin/audit")
        assert answer.status_code == status
        assert client.get("/api/v1/me").status_code == 200
        if not with_code:
            assert answer.json()["code"] == "second_factor_required"


def test_the_api_confirms_by_a_code_and_the_refreshed_log_in_stays_confirmed(client, staff):
    def tokens(**more):
        fields = {"email": staff.email, "password": PASSWORD} | more
        return client.post("/api/v1/auth/token", fields, "application/json").json()

    def status(found):
        return client.get("/api/v1/admin/users", headers={"authorization": f"Bearer {found['access']}"}).status_code

    assert status(tokens()) == 403
    secret = generate_totp_secret()
    TOTP.activate(staff, secret)
    found = tokens(code=code_of(secret))
    assert status(found) == 200
    again = client.post("/api/v1/auth/token/refresh", {"refresh": found["refresh"]}, "application/json").json()
    assert status(again) == 200


@pytest.mark.parametrize(
    ("is_debug", "is_let_in", "leads"), [(True, True, None), (True, False, INDEX), (False, True, INDEX)]
)
def test_demo_accounts_enter_in_development_alone(client, settings, catalogue, is_debug, is_let_in, leads):
    call_command("seed_demo")
    settings.DEBUG, settings.STAFF_WITHOUT_SECOND_FACTOR = is_debug, is_let_in
    for name in ("staff", "operator"):
        browser = Client()
        fields = {"login": f"{name}@example.com", "password": DEMO_PASSWORD, "next": ADMIN}
        assert browser.post(LOG_IN, fields)["Location"] == ADMIN
        assert browser.get(ADMIN).headers.get("Location") == leads
    other = UserFactory.create(email="another@example.com", is_staff=True)
    client.force_login(other)
    assert client.get(ADMIN).url == INDEX


def test_the_check_of_a_deployment_refuses_the_setting(settings):
    def found():
        return [
            error.id for error in run_checks(include_deployment_checks=True, tags=["security"]) if error.level >= 40
        ]

    assert "accounts.E001" not in found()
    settings.STAFF_WITHOUT_SECOND_FACTOR = True
    assert "accounts.E001" in found()


def test_setting_it_up_stands_in_the_audit_log(client, staff):
    log_in(client, staff)
    client.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    client.post(ACTIVATE, {"code": code_of(client.get(ACTIVATE).context["form"].secret)})
    assert "second factor added" in AuditEvent.objects.values_list("action", flat=True)


def test_a_further_factor_confirms_nothing(client, staff, secret, rf):
    """Not even if somebody got as far as adding one with the password alone."""
    client.force_login(staff)
    request = rf.post("/")
    request.user, request.session = staff, client.session
    added = Authenticator.objects.create(user=staff, type="webauthn", data={"name": "key", "credential": {}})
    authenticator_added.send(sender=Authenticator, request=request, user=staff, authenticator=added)
    assert not is_confirmed(request)
    Authenticator.objects.exclude(pk=added.pk).delete()
    authenticator_added.send(sender=Authenticator, request=request, user=staff, authenticator=added)
    assert is_confirmed(request)
