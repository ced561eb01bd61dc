"""Production's settings as they should be, and a process that reads them."""

from tests.core.postgresql.production import PRODUCTION, manage, secret_of

GOOD = PRODUCTION | {
    "DATABASE_URL": "postgres://tally_app:secret@127.0.0.1:1/tally",
    "BROKER_REDIS_URL": "redis://tally_broker:secret@127.0.0.1:1/0",
    "RELAY_REDIS_URL": "redis://tally_relay:secret@127.0.0.1:1/0",
    "CACHE_REDIS_URL": "redis://tally_cache:secret@127.0.0.1:1/0",
    "STRIPE_SECRET_KEY": "sk_live_1",
    "STRIPE_WEBHOOK_SECRET": "whsec_1",
    "MAILBOX_SECRET": secret_of("MAILBOX_SECRET"),
    "TOPUP_CURRENCY": "usd",
}


def start(**changes):
    """Read production's settings in a process of its own, as each of Tally's processes does."""
    variables = {name: value for name, value in (GOOD | changes).items() if value is not None}
    url = variables.pop("DATABASE_URL", "")
    unset = [f"import os; os.environ.pop({name!r}, None)" for name, value in changes.items() if value is None]
    code = "; ".join([*unset, "import runpy", "runpy.run_path('manage.py', run_name='__main__')"])
    program = f"import sys; sys.argv = ['manage.py', 'check', '--deploy', '--fail-level', 'WARNING']; {code}"
    return manage(url, "", "-c", program, REDIS_URL="", **variables)
