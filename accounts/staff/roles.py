"""The roles of staff: groups with fixed permissions, which this module defines. Other groups can be made in the admin.

Every `manage.py migrate` and `manage.py sync_roles` resets the roles to exactly these permissions. A member of staff is
a user with `is_staff` in one or more of these groups; a superuser needs none.
"""

from typing import Any

from django.apps import apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models import Value
from django.db.models.functions import Concat

SUPPORT = "support"
FINANCE = "finance"
OPERATOR = "operator"

# Support suspends users, sees their money and the metadata of answers, and requests refunds of answers, about which
# finance decides.
_SUPPORT_PERMISSIONS = (
    "accounts.view_user",
    "accounts.suspend_user",
    "accounts.view_apikey",
    "accounts.view_apisession",
    "billing.view_wallet",
    "billing.view_ledgerentry",
    "billing.view_grant",
    "billing.view_hold",
    "billing.view_topup",
    "billing.view_refund",
    "billing.request_refund",
    "inference.view_generation",
    "inference.release_generation",
    "chat.view_conversation",
    "chat.read_conversation",
    "backoffice.view_note",
    "backoffice.add_note",
    "chat.view_ratedmodel",
)

ROLES: dict[str, tuple[str, ...]] = {
    SUPPORT: _SUPPORT_PERMISSIONS,
    # Finance does everything about money. Nobody can delete any of it.
    FINANCE: (
        "accounts.view_user",
        "accounts.view_apikey",
        "accounts.view_auditevent",
        "billing.view_wallet",
        "billing.adjust_wallet",
        "billing.view_adjustment",
        "billing.view_ledgerentry",
        "billing.view_grant",
        "billing.view_hold",
        "billing.view_topup",
        "billing.view_paymentevent",
        "billing.view_refund",
        "billing.request_refund",
        "billing.make_refund",
        "billing.view_price",
        "billing.add_price",
        "billing.view_package",
        "billing.add_package",
        "billing.change_package",
        "billing.view_promotioncode",
        "billing.add_promotioncode",
        "billing.change_promotioncode",
        "inference.view_generation",
        "monitoring.view_revenue_report",
        "monitoring.view_usage_report",
        "monitoring.view_models_report",
        "monitoring.view_incidents_report",
        "backoffice.view_note",
        "backoffice.add_note",
    ),
    # Operators keep the models and the workers running, and have no say about money.
    OPERATOR: (
        "inference.view_cataloguemodel",
        "inference.add_cataloguemodel",
        "inference.change_cataloguemodel",
        "inference.view_generation",
        "inference.release_generation",
        "chat.view_ratedmodel",
        "monitoring.view_usage_report",
        "monitoring.view_models_report",
        "monitoring.view_performance_report",
        "monitoring.view_incidents_report",
    ),
}


class UnknownPermission(Exception):
    """A role names a permission that no app has."""


@transaction.atomic
def sync_roles(*, using: str = DEFAULT_DB_ALIAS) -> None:
    """Make the groups of ROLES and give them exactly their permissions. Raises UnknownPermission."""
    wanted = {name for names in ROLES.values() for name in names}
    found = _permissions(wanted, using)
    if len(found) < len(wanted):  # the first migrate has not yet made the apps' permissions
        for label in sorted({name.partition(".")[0] for name in wanted}):
            create_permissions(apps.get_app_config(label), verbosity=0, using=using)
        found = _permissions(wanted, using)
    missing = wanted - found.keys()
    if missing:
        raise UnknownPermission(", ".join(sorted(missing)))
    for role, names in ROLES.items():
        group, _created = Group.objects.using(using).get_or_create(name=role)
        group.permissions.set([found[name] for name in names])


def sync_roles_after_migrate(using: str, **_kwargs: Any) -> None:
    """The receiver of `post_migrate`."""
    sync_roles(using=using)


def _permissions(names: set[str], using: str) -> dict[str, Permission]:
    named = Permission.objects.using(using).annotate(
        full_name=Concat("content_type__app_label", Value("."), "codename")
    )
    return {permission.full_name: permission for permission in named.filter(full_name__in=names)}
