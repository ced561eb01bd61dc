"""What `emptying` leaves behind is what Django's own flush leaves, and the walls stand again."""

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import IntegrityError, connection, transaction

from accounts.staff.roles import ROLES, SUPPORT
from billing.models import LedgerEntry
from tests.support.databases import emptying

pytestmark = pytest.mark.django_db(transaction=True)


def filled():
    """Tables with rows."""
    tables = connection.introspection.django_table_names(include_views=False)
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(f"(SELECT '{table}' FROM {table} LIMIT 1)" for table in tables))
        return {table for (table,) in cursor.fetchall()}


def test_nothing_is_left_but_what_migrate_makes(alice, staff):
    assert "billing_ledgerentry" in filled()
    assert emptying._delete_rows()
    assert filled() == {*emptying.MADE_BY_MIGRATE}
    assert {*Group.objects.values_list("name", flat=True)} == {*ROLES}


def test_the_walls_stand_afterwards(alice):
    emptying._delete_rows()
    with connection.cursor() as cursor:
        cursor.execute("SHOW session_replication_role")
        assert cursor.fetchone() == ("origin",)


def test_the_walls_stand_for_the_next_test(alice):
    with pytest.raises(IntegrityError), transaction.atomic():
        LedgerEntry.objects.all().delete()


def test_a_role_that_was_changed_is_made_good_by_djangos_own_way(alice):
    emptying._delete_rows()
    Group.objects.get(name=SUPPORT).permissions.add(Permission.objects.get(codename="adjust_wallet"))
    assert not emptying._delete_rows()
