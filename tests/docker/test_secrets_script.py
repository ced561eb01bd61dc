"""deploy/secrets.sh: what it makes is strong, closed to others, and stays."""

import shutil
import stat
import subprocess
from urllib.parse import urlsplit

import pytest
import yaml
from django.conf import settings

from deploy.local.embedded import redis_users
from tests.config.starting import start

LEFT_TO_THE_OPERATOR = {"email_url", "stripe_secret_key", "stripe_webhook_secret", "hf_token"}


@pytest.fixture
def place(tmp_path):
    """A checkout with what the script reads."""
    for file in ("deploy/secrets.sh", "docs/redis-users.md"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(settings.BASE_DIR / file, tmp_path / file)
    return tmp_path


def make(place):
    """Run it from elsewhere; returns its lines and the secrets by name."""
    done = subprocess.run([place / "deploy" / "secrets.sh"], cwd="/", capture_output=True, text=True, check=True)
    files = [path for path in (place / "secrets").iterdir() if path.is_file()]
    return done.stdout.splitlines(), {file.name: file.read_text() for file in files}


def test_it_makes_every_secret_that_compose_wants(place):
    lines, secrets = make(place)
    compose = yaml.safe_load((settings.BASE_DIR / "compose.yaml").read_text())
    assert set(compose["secrets"]) <= set(secrets)
    assert sorted(lines) == sorted(f"made secrets/{name}" for name in secrets)
    assert {name for name, value in secrets.items() if not value} == LEFT_TO_THE_OPERATOR


def test_a_second_run_changes_nothing_and_adds_what_is_missing(place):
    _lines, first = make(place)
    (place / "secrets" / "email_url").write_text("smtp+tls://me:secret@mail.example.com:587")
    (place / "secrets" / "flower_basic_auth").unlink()
    lines, second = make(place)
    assert lines == ["made secrets/flower_basic_auth"]
    changed = {name for name in first if first[name] != second[name]}
    assert changed == {"email_url", "flower_basic_auth"}


def test_the_folder_is_closed_and_containers_can_read_the_files(place):
    make(place)
    (place / "secrets" / "certificates").mkdir(mode=0o700)
    key = place / "secrets" / "certificates" / "privkey.pem"
    key.write_text("a key")
    key.chmod(0o600)
    make(place)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (place / "secrets").rglob("*")}
    assert stat.S_IMODE((place / "secrets").stat().st_mode) == 0o700
    assert modes.pop("certificates") == 0o755
    assert set(modes.values()) == {0o644}


def test_users_of_redis_have_the_rules_of_the_document_and_no_password_stands_there(place):
    _lines, secrets = make(place)
    rules = {line.split()[1]: line for line in secrets["redis.acl"].splitlines()}
    assert rules["default"] == "user default off"
    for user in redis_users.USERS:
        assert rules[user].endswith(redis_users.rules_of(user))
    for name in ("broker", "relay", "cache"):
        url = urlsplit(secrets[f"{name}_redis_url"])
        assert url.username == f"tally_{name}"
        assert url.password not in secrets["redis.acl"]


def test_production_is_content_with_them(place):
    _lines, secrets = make(place)
    names = (
        "secret_key",
        "jwt_signing_key",
        "mailbox_secret",
        "broker_redis_url",
        "relay_redis_url",
        "cache_redis_url",
    )
    files = {f"{name.upper()}_FILE": str(place / "secrets" / name) for name in names}
    done = start(**files)
    assert done.returncode == 0, done.stderr
    assert len({secrets[name] for name in names}) == len(names)
