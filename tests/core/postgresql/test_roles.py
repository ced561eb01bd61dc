"""Two roles: the owner migrates, the application owns nothing, and production runs as nothing else."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection

from billing.ledger.walls import privileges
from billing.models import Wallet
from core.postgresql import roles
from tests.core.postgresql.production import PRODUCTION, manage
from tests.support.databases import owner

PLAIN = "tally_plain"  # an owner as a production has one: no superuser
ORDINARY = """
from accounts.models import User
from billing import ledger
from inference.catalogue import seed_catalogue
seed_catalogue()
user = User.objects.create_user("ordinary@example.com", "long enough to be one")
ledger.grant(user=user, kind="bonus", amount_microcredits=10**6, idempotency_key="k", reason="test")
hold = ledger.hold(user=user, model_key="gemma-3-270m", prompt_tokens=10, max_completion_tokens=100, reference="r")
ledger.settle(hold_id=hold.pk, completion_tokens=3)
print(ledger.open_wallet(user=user).balance_microcredits)
"""


@pytest.fixture
def demanded(settings, monkeypatch):
    """As production demands it, in a process that has not looked yet."""
    settings.DEMAND_RESTRICTED_ROLE = True
    monkeypatch.setattr(roles, "_has_been_checked", False)
    return settings


def test_the_applications_role_is_not_refused(db, demanded):
    roles.refuse_might(connection.connection)


def test_the_owner_is_refused_and_told_why(db, demanded):
    with owner.connect() as connected, pytest.raises(ImproperlyConfigured) as error:
        roles.refuse_might(connected)
    for word in ("is a superuser", "owns tables", "may make temporary tables", "DATABASE_OWNER_URL"):
        assert word in str(error.value)


def test_a_development_machine_may_run_as_the_owner(db):
    with owner.connect() as connected:
        roles.refuse_might(connected)


@pytest.mark.parametrize(
    ("grant", "might"),
    [
        ("GRANT CREATE ON SCHEMA public TO {role}", "may make tables and functions"),
        ('GRANT TEMPORARY ON DATABASE "{database}" TO {role}', "may make temporary tables"),
        ("GRANT TRUNCATE ON accounts_user TO {role}", "may empty tables or give them triggers"),
        ("GRANT TRIGGER ON accounts_user TO {role}", "may empty tables or give them triggers"),
        ("GRANT UPDATE ON billing_wallet TO {role}", "may change balances"),
        ("GRANT pg_write_all_data TO {role}", "may change balances"),
        ("ALTER TABLE inference_generation OWNER TO {role}", "owns tables"),
        ("ALTER ROLE {role} CREATEROLE", "may make roles"),
    ],
)
def test_one_right_too_many_is_noticed(db, grant, might):
    login = connection.settings_dict
    owner.as_owner(grant.replace("{role}", login["USER"]).replace("{database}", login["NAME"]))
    assert might in roles.might_of(connection.connection)


def test_a_member_of_the_owners_is_refused_whoever_it_plays(db, demanded):
    with owner.connect() as connected:
        connected.execute(f'SET ROLE "{settings.DATABASE_APP_ROLE}"')
        with pytest.raises(ImproperlyConfigured):
            roles.refuse_might(connected)


def test_what_was_granted_is_taken_away_by_the_next_migrate(db):
    role = settings.DATABASE_APP_ROLE
    owner.as_owner(f'GRANT ALL ON billing_wallet, django_migrations TO "{role}"')
    with connection.cursor() as cursor:
        for statement in privileges._of_tables(connection, connection.ops.quote_name(role)):
            if "DEFAULT PRIVILEGES" not in statement:
                owner.as_owner(statement)
        cursor.execute("SELECT has_table_privilege(%s, 'billing_wallet', 'UPDATE, DELETE, TRUNCATE')", [role])
        assert cursor.fetchone() == (False,)
        cursor.execute("SELECT has_table_privilege(%s, 'django_migrations', 'INSERT, UPDATE, DELETE')", [role])
        assert cursor.fetchone() == (False,)


def test_every_column_that_may_change_is_one(db):
    for model in Wallet.__mro__[1].__subclasses__():
        assert set(model.MAY_CHANGE) <= {field.column for field in model._meta.concrete_fields}


def test_production_migrates_as_the_owner_or_not_at_all(db, demanded):
    demanded.DATABASE_OWNER_URL = ""
    with pytest.raises(CommandError, match="DATABASE_OWNER_URL"):
        call_command("migrate")


@pytest.fixture
def plain_owner():
    """The URLs of a database whose owner is no superuser: the application's and the owner's."""
    login = connection.settings_dict
    address = f"{login['HOST']}:{login['PORT']}/{PLAIN}"
    app = f"postgres://{login['USER']}:{login['PASSWORD']}@{address}"
    with psycopg.connect(settings.DATABASE_OWNER_URL, autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {PLAIN} WITH (FORCE)")
        server.execute(f"DROP ROLE IF EXISTS {PLAIN}")
        server.execute(f"CREATE ROLE {PLAIN} LOGIN PASSWORD 'plain'")
        server.execute(f"CREATE DATABASE {PLAIN} OWNER {PLAIN}")
        if server.info.server_version < 150000:
            with psycopg.connect(settings.DATABASE_OWNER_URL, dbname=PLAIN) as database:
                database.execute(f"ALTER SCHEMA public OWNER TO {PLAIN}")
        yield app, f"postgres://{PLAIN}:plain@{address}"
        server.execute(f"DROP DATABASE {PLAIN} WITH (FORCE)")
        server.execute(f"DROP ROLE {PLAIN}")


def test_an_owner_who_is_no_superuser_migrates_and_the_application_sells(plain_owner):
    app, owner_url = plain_owner
    migrated = manage(app, owner_url, "manage.py", "migrate", "--noinput")
    assert migrated.returncode == 0, migrated.stderr
    sold = manage(app, "", "manage.py", "shell", "-c", ORDINARY)
    assert sold.stdout.split()[-1:] == [str(10**6 - 10 * 20 - 3 * 40)], sold.stderr
    with psycopg.connect(app) as connected:
        assert roles.might_of(connected) == []
    with psycopg.connect(owner_url) as connected:
        assert "owns tables" in roles.might_of(connected)
    again = manage(app, owner_url, "manage.py", "migrate", "--noinput")
    assert again.returncode == 0, again.stderr
    refused_to_migrate = manage(app, "", "manage.py", "migrate", "billing", "zero")
    assert "permission denied" in refused_to_migrate.stderr or "must be owner" in refused_to_migrate.stderr


def test_of_two_that_migrate_at_once_one_waits(plain_owner):
    app, owner_url = plain_owner
    with ThreadPoolExecutor() as both:
        begun = [both.submit(manage, app, owner_url, "manage.py", "migrate", "--noinput") for _ in range(2)]
    results = [one.result() for one in begun]
    assert [result.returncode for result in results] == [0, 0], [result.stderr[-500:] for result in results]
    assert ["No migrations to apply" in result.stdout for result in results].count(True) == 1


@pytest.mark.parametrize(
    "process",
    [
        ["-c", "import config.asgi"],
        ["-m", "celery", "-A", "config", "worker", "-n", "mighty@%h", "--pool=solo", "-Q", "nothing"],
        ["-m", "celery", "-A", "config", "beat", "--pidfile=", "--schedule={folder}/beat"],
        ["manage.py", "verify_ledger"],
    ],
    ids=["web", "worker", "beat", "command"],
)
def test_no_process_of_production_starts_as_the_owner(db, process, tmp_path):
    owner_url = settings.DATABASE_OWNER_URL
    begun = manage(owner_url, owner_url, *[word.format(folder=tmp_path) for word in process], **PRODUCTION)
    assert begun.returncode != 0
    assert "Tally does not run as such a role" in begun.stderr
