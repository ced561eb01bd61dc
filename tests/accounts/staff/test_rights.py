"""Rights of users: only superusers give them, nobody to themselves, and the audit log keeps before and after."""

from uuid import uuid4

import pytest
from allauth.account.models import EmailAddress
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.urls import reverse

from accounts.admin.audited import AuditedAdmin
from accounts.models import AuditEvent, User
from accounts.staff import rights
from accounts.staff.rights import RightsRefused
from accounts.staff.roles import FINANCE, SUPPORT
from billing.closing import close_account
from core.admin.base import ReadOnlyAdmin, ServiceAdmin
from inference.models import CatalogueModel
from tests.support.cast import CREDIT, UserFactory

OWN_TESTS = {CatalogueModel}  # tests/inference


@pytest.fixture
def clerk(catalogue):
    """Staff with a group of the house's own: it may change users and groups."""
    user = UserFactory.create(email="clerk@example.com", is_staff=True)
    names = ("view_user", "add_user", "change_user", "delete_user", "view_group", "change_group", "change_emailaddress")
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    return user


def page_of(user):
    return reverse("admin:accounts_user_change", args=[user.pk])


def save(client, user, **changes):
    """Post the user's own page with these fields changed."""
    fields = {"email": user.email, "first_name": user.first_name, "last_name": user.last_name}
    flags = {name: "on" for name in ("is_active", "is_staff", "is_superuser") if getattr(user, name)}
    lists = {"groups": [group.pk for group in user.groups.all()]}
    sent = fields | flags | lists | changes
    answer = client.post(page_of(user), {name: value for name, value in sent.items() if value is not None})
    user.refresh_from_db()
    return answer


def events(action):
    return list(AuditEvent.objects.filter(action=action).order_by("pk"))


def test_rights_that_a_superuser_gives_are_in_the_audit_log(client, staff, alice):
    client.force_login(staff)
    finance = Group.objects.get(name=FINANCE)
    single = Permission.objects.get(codename="suspend_user")
    answer = save(client, alice, is_staff="on", is_superuser="on", groups=[finance.pk], user_permissions=[single.pk])
    assert (answer.status_code, alice.is_staff, alice.is_superuser, alice.groups.get()) == (302, True, True, finance)
    [event] = events("rights changed")
    assert (event.actor, event.subject) == (staff, alice)
    assert event.details == {
        "is_staff": "False → True",
        "is_superuser": "False → True",
        "groups": " → finance",
        "user_permissions": f" → {single}",
    }
    save(client, alice, is_superuser=None, groups=[], user_permissions=[])
    assert events("rights changed")[1].details["groups"] == "finance → "
    assert events("rights changed")[1].details["is_superuser"] == "True → False"


def test_saving_a_user_as_they_are_changes_and_notes_nothing(client, staff, alice):
    client.force_login(staff)
    assert save(client, alice).status_code == 302
    assert not AuditEvent.objects.exists()


def test_a_name_and_an_address_are_noted_without_what_they_were(client, staff, alice):
    client.force_login(staff)
    save(client, alice, email="alicia@example.com", first_name="Alicia")
    assert (alice.email, alice.first_name) == ("alicia@example.com", "Alicia")
    [event] = events("user changed")
    assert (event.actor, event.subject, event.details) == (staff, alice, {"fields": "email, first_name"})


def test_nobody_changes_their_own_rights(client, staff):
    client.force_login(staff)
    save(client, staff, is_superuser=None, is_active=None, groups=[Group.objects.get(name=FINANCE).pk])
    assert (staff.is_superuser, staff.is_active, staff.groups.count()) == (True, True, 0)
    with pytest.raises(RightsRefused, match="Somebody else"):
        rights.change_rights(user=staff, by=staff, wanted={"is_staff": False})
    assert not events("rights changed")


def test_only_a_superuser_gives_rights(client, clerk, alice):
    client.force_login(clerk)
    roles = [Group.objects.get(name=SUPPORT).pk]
    answer = save(client, alice, first_name="Al", is_superuser="on", is_staff="on", groups=roles)
    assert (answer.status_code, alice.first_name) == (302, "Al")  # what the clerk may change
    assert (alice.is_superuser, alice.is_staff, alice.groups.count()) == (False, False, 0)
    for wanted in ({"is_superuser": True}, {"groups": []}):
        with pytest.raises(RightsRefused, match="Only a superuser"):
            rights.change_rights(user=alice, by=clerk, wanted=wanted)
    assert not events("rights changed")


def test_whoever_is_no_superuser_changes_no_staff_and_no_groups(client, clerk, staff, alice):
    client.force_login(clerk)
    group, address = Group.objects.get(name=SUPPORT), EmailAddress.objects.get(user=staff)
    for user in (staff, clerk):
        password = reverse("admin:auth_user_password_change", args=[user.pk])
        for url in (page_of(user), password):
            assert client.post(url, {"email": "mine@example.com", "password1": "x"}).status_code == 403
    for url in ("auth_group_change", "auth_group_add", "account_emailaddress_change"):
        arguments = {"auth_group_change": [group.pk], "account_emailaddress_change": [address.pk]}.get(url, [])
        assert client.post(reverse(f"admin:{url}", args=arguments), {"name": "mine"}).status_code == 403
    assert client.post(reverse("admin:accounts_user_delete", args=[alice.pk]), {"post": "yes"}).status_code == 403


def step(client, user, name, reason, **confirmed):
    """Post one of the two steps of suspending or restoring."""
    url = reverse(f"admin:accounts_user_{name}", args=[user.pk])
    return client.post(url, {"idempotency_key": uuid4(), "reason": reason, **confirmed})


def test_suspending_in_the_admin_is_the_service_and_asks_why(client, alice, catalogue):
    support = UserFactory.create(email="support@example.com", is_staff=True)
    support.groups.set([Group.objects.get(name=SUPPORT)])
    client.force_login(support)
    assert reverse("admin:accounts_user_suspend", args=[alice.pk]) in client.get(page_of(alice)).content.decode()
    assert b"This field is required" in step(client, alice, "suspend", "", confirmed="true").content
    assert b"shut out" in step(client, alice, "suspend", "Against the terms").content
    alice.refresh_from_db()
    assert alice.is_active
    assert step(client, alice, "suspend", "Against the terms", confirmed="true").status_code == 302
    alice.refresh_from_db()
    assert not alice.is_active
    assert reverse("admin:accounts_user_restore", args=[alice.pk]) in client.get(page_of(alice)).content.decode()
    step(client, alice, "restore", "It was a mistake", confirmed="true")
    alice.refresh_from_db()
    assert alice.is_active
    noted = [(event.actor, event.subject, event.details["reason"]) for event in AuditEvent.objects.order_by("pk")]
    assert noted == [(support, alice, "Against the terms"), (support, alice, "It was a mistake")]
    assert alice.login_epoch == 2  # her log-ins ended


def test_unticking_active_on_the_page_does_nothing(client, staff, alice):
    client.force_login(staff)
    save(client, alice, is_active=None)
    assert alice.is_active
    assert AuditEvent.objects.count() == 0
    page = client.get(page_of(alice)).content.decode()
    assert "Suspend and Restore, above" in page
    assert "Unselect this" not in page


def test_who_may_not_suspend_does_not(client, staff, clerk, alice):
    client.force_login(clerk)
    assert step(client, alice, "suspend", "Against the terms", confirmed="true").status_code == 403
    clerk.user_permissions.add(Permission.objects.get(codename="suspend_user"))
    assert b"Only a superuser" in step(client, staff, "suspend", "Against the terms", confirmed="true").content
    assert b"Somebody else" in step(client, clerk, "suspend", "Against the terms", confirmed="true").content
    assert client.get(reverse("admin:accounts_user_suspend", args=[10**9])).status_code == 404
    assert User.objects.filter(is_active=False).count() == 0


def test_a_closed_account_stays_closed_and_its_address_is_nowhere_in_the_admins_log(client, staff, alice):
    client.force_login(staff)
    save(client, alice, first_name="Alicia")
    address = reverse("admin:account_emailaddress_change", args=[EmailAddress.objects.get(user=alice).pk])
    client.post(address, {"email": alice.email, "user": alice.pk})
    assert LogEntry.objects.filter(object_repr__icontains="alice@example.com").count() >= 1
    other = UserFactory.create(email="xalice@example.com")
    save(client, other, first_name="Other")
    EmailAddress.objects.create(user=alice, email=other.email, verified=False)  # anybody may add any address
    close_account(user=alice, forfeits_microcredits=100 * CREDIT)
    assert LogEntry.objects.filter(object_repr=other.email).count() == 1
    kept = LogEntry.objects.exclude(object_id=str(other.pk)).values_list("object_repr", "change_message")
    assert not any("alice" in text for row in kept for text in row)
    alice.refresh_from_db()
    assert b"closed by its owner" in step(client, alice, "restore", "It was a mistake", confirmed="true").content
    alice.refresh_from_db()
    assert not alice.is_active


def test_a_password_set_by_staff_and_a_user_added_are_noted(client, staff, alice):
    client.force_login(staff)
    new = {"password1": "a new horse battery", "password2": "a new horse battery", "usable_password": "true"}
    url = reverse("admin:auth_user_password_change", args=[alice.pk])
    client.post(url, new | {"password2": "another"})
    assert not events("password set")
    assert client.post(url, new).status_code == 302
    assert [(event.actor, event.subject) for event in events("password set")] == [(staff, alice)]
    client.post(reverse("admin:accounts_user_add"), new | {"email": "new@example.com"})
    assert [event.subject.email for event in events("user added")] == ["new@example.com"]


def test_groups_and_addresses_are_noted(client, staff, alice):
    client.force_login(staff)
    one = Permission.objects.get(codename="view_price")
    client.post(reverse("admin:auth_group_add"), {"name": "ours"})
    ours = Group.objects.get(name="ours")
    client.post(reverse("admin:auth_group_change", args=[ours.pk]), {"name": "ours", "permissions": [one.pk]})
    assert events("group changed")[0].details == {"row": f"ours ({ours.pk})", "permissions": f" → {one}"}
    client.post(reverse("admin:auth_group_delete", args=[ours.pk]), {"post": "yes"})
    assert events("group added")[0].details == {"row": f"ours ({ours.pk})", "name": " → ours"}
    assert events("group deleted")[0].details == {"row": f"ours ({ours.pk})"}
    address = EmailAddress.objects.get(user=alice)
    EmailAddress.objects.update(verified=False)
    action = {"action": "make_verified", "_selected_action": [address.pk]}
    client.post(reverse("admin:account_emailaddress_changelist"), action)
    assert [event.subject for event in events("e-mail address verified")] == [alice]
    sent = {"user": alice.pk, "email": "other@example.com", "verified": "on", "primary": "on"}
    client.post(reverse("admin:account_emailaddress_change", args=[address.pk]), sent)
    assert events("e-mail address changed")[0].details == {"row": str(address.pk), "email": "changed"}
    client.post(
        reverse("admin:account_emailaddress_changelist"),
        {"action": "delete_selected", "_selected_action": [address.pk], "post": "yes"},
    )
    assert [event.subject for event in events("e-mail address deleted")] == [alice]


def test_nothing_is_written_in_the_admin_past_the_audit_log():
    """Whoever registers a model chooses one of these; each has its tests."""
    unknown = {
        model
        for model, made in admin.site._registry.items()
        if not isinstance(made, ReadOnlyAdmin | ServiceAdmin | AuditedAdmin)
    }
    assert unknown - OWN_TESTS == set()


def test_a_page_that_was_loaded_earlier_takes_no_right_back(staff, alice):
    rights.change_rights(user=alice, by=staff, wanted={"is_staff": True})
    stale = User.objects.get(pk=alice.pk)
    stale.is_staff = False
    rights.change_rights(user=stale, by=staff, wanted={"groups": [Group.objects.get(name=SUPPORT)]})
    alice.refresh_from_db()
    assert (alice.is_staff, alice.groups.get().name) == (True, SUPPORT)
