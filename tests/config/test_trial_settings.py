"""A trial answers on this machine alone, whatever its environment says, and takes no money (docs/adr/0044)."""

from tests.config.starting import GOOD
from tests.core.postgresql.production import manage

SHOW = """
import django
from django.conf import settings
django.setup()
print(settings.PUBLIC_URL, settings.ALLOWED_HOSTS, settings.PAYMENT_PROVIDERS, settings.DEMO, settings.DEBUG)
"""


def show(**changes):
    variables = GOOD | {"STRIPE_SECRET_KEY": "", "DJANGO_SETTINGS_MODULE": "config.settings.trial"} | changes
    url = variables.pop("DATABASE_URL")
    return manage(url, "", "-c", SHOW, **variables)


def test_it_is_on_this_machine_alone_and_sells_nothing():
    done = show(PUBLIC_URL="https://tally.example.com", ALLOWED_HOSTS="*", TALLY_TRIAL_PORT="8010")
    assert done.stdout.split("\n")[0] == "http://127.0.0.1:8010 ['127.0.0.1', 'localhost'] {} False False", done.stderr


def test_it_refuses_a_key_of_stripe():
    done = show(STRIPE_SECRET_KEY="sk_live_1")
    assert "STRIPE_SECRET_KEY is set: a trial takes no money" in done.stderr
