"""Production does not start with a setting that is missing or weak, and says all of them in one list."""

import pytest

from tests.config.starting import GOOD, start
from tests.core.postgresql.production import secret_of

WEAK = {
    "SECRET_KEY": ["", "too short", "a" * 60],
    "JWT_SIGNING_KEY": ["", "too short", "ab" * 30, GOOD["SECRET_KEY"]],
    "MAILBOX_SECRET": ["too short", GOOD["SECRET_KEY"]],
    "DATABASE_URL": [""],
    "BROKER_REDIS_URL": ["", "redis://127.0.0.1:1/0"],
    "RELAY_REDIS_URL": ["", "redis://tally_relay@127.0.0.1:1/0"],
    "CACHE_REDIS_URL": ["", "redis://127.0.0.1:1/0"],
    "ALLOWED_HOSTS": ["", "*", "tally.example.com,*"],
    "PUBLIC_URL": ["", "http://tally.example.com"],
    "EMAIL_URL": ["", "consolemail://", "dummymail://", "filemail:///tmp"],
    "TRUSTED_PROXIES": [None, "*", "proxy.internal"],
    "STRIPE_WEBHOOK_SECRET": [""],
    "TOPUP_CURRENCY": ["qqq"],
    "METRICS_TOKEN": ["too short", GOOD["SECRET_KEY"]],
    "METRICS_NETWORKS": ["*", "0.0.0.0/0"],
}
CASES = [(name, value) for name, values in WEAK.items() for value in values]


def test_good_settings_start_and_djangos_own_checks_are_content():
    done = start()
    assert (done.returncode, "no issues" in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.parametrize(("name", "value"), CASES)
def test_one_that_is_missing_or_weak_is_named_and_nothing_starts(name, value):
    done = start(**{name: value})
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"- {name}" in done.stderr


def test_all_that_is_wrong_stands_in_one_list():
    done = start(SECRET_KEY="", PUBLIC_URL="http://x.example", ALLOWED_HOSTS="*", TOPUP_CURRENCY="qqq", EMAIL_URL="")
    assert done.returncode == 1
    named = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("- ")]
    assert sorted(named) == ["ALLOWED_HOSTS", "EMAIL_URL", "PUBLIC_URL", "SECRET_KEY", "TOPUP_CURRENCY:"]


def test_a_secret_may_lie_in_a_file(tmp_path):
    for name in ("SECRET_KEY", "JWT_SIGNING_KEY", "MAILBOX_SECRET", "STRIPE_WEBHOOK_SECRET"):
        (tmp_path / name).write_text(GOOD[name])
    files = {f"{path.name}_FILE": str(path) for path in tmp_path.iterdir()}
    done = start(**files, **dict.fromkeys(path.name for path in tmp_path.iterdir()))
    assert done.returncode == 0, done.stderr


def test_an_empty_file_is_a_missing_secret(tmp_path):
    (tmp_path / "email_url").touch()
    done = start(EMAIL_URL=None, EMAIL_URL_FILE=str(tmp_path / "email_url"))
    assert done.returncode == 1
    assert "- EMAIL_URL is missing, the file " in done.stderr


def test_a_secret_key_is_replaced_step_by_step_and_mailboxes_keep_the_old_one():
    """As docs/configuration.md says: each step starts."""
    old, new = GOOD["SECRET_KEY"], secret_of("another")
    for key, fallbacks in ((old, new), (new, old), (new, "")):
        done = start(SECRET_KEY=key, SECRET_KEY_FALLBACKS=fallbacks, MAILBOX_SECRET=old)
        assert done.returncode == 0, done.stderr


def test_a_new_secret_key_wants_the_old_one_for_mailboxes():
    """Or whoever had the sign-up bonus gets it again: the hashes of mailboxes are keyed."""
    done = start(SECRET_KEY_FALLBACKS=GOOD["SECRET_KEY"], SECRET_KEY=secret_of("another"), MAILBOX_SECRET="")
    assert done.returncode == 1
    assert "- MAILBOX_SECRET" in done.stderr
