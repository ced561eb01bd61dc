"""Settings of a trial with containers on one machine: production's, but over http, with mails that are shown, not sent.

The site answers on this machine alone, whatever the environment says of its address, and sells nothing. So no credits
that nobody paid for are in the database if it becomes that of a real site (docs/adr/0044).
"""

import os

os.environ["PUBLIC_URL"] = f"http://127.0.0.1:{os.environ.get('TALLY_TRIAL_PORT') or '8000'}"
os.environ.pop("PUBLIC_URL_FILE", None)  # a file's value would come first

from config.settings import demands
from config.settings.base import *

ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
DEMO = False
DEMAND_RESTRICTED_ROLE = True
DEMAND_ENOUGH_CONNECTIONS = True
DEMAND_RESTRICTED_REDIS_USERS = True
if STRIPE_SECRET_KEY:
    demands.wrong("STRIPE_SECRET_KEY is set: a trial takes no money. Choose config.settings.production for that.")
demands.refuse()
