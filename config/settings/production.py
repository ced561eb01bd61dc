"""Settings for production: everything that must be set comes from the environment, without demo defaults.

What is missing or weak is gathered and said in one list (`demands`), and Tally does not start.
"""

import secrets

from config.settings import demands

_NOWHERE = "127.0.0.1:1"
demands.required(
    "SECRET_KEY", f"it signs sessions and mailed links; {demands.HOW_TO_MAKE_ONE}", secrets.token_urlsafe(64)
)
demands.required(
    "JWT_SIGNING_KEY", f"it signs the tokens of the API; {demands.HOW_TO_MAKE_ONE}", secrets.token_urlsafe(64)
)
demands.required(
    "DATABASE_URL",
    "postgres://tally_app:password@host:5432/tally (docs/database-roles.md)",
    f"postgres://x@{_NOWHERE}/x",
)
_REDIS, _NO_REDIS = "redis://user:password@host:6379/0 (docs/redis-users.md)", f"redis://x:x@{_NOWHERE}/0"
demands.required("BROKER_REDIS_URL", _REDIS, _NO_REDIS)
demands.required("RELAY_REDIS_URL", _REDIS, _NO_REDIS)
demands.required("CACHE_REDIS_URL", _REDIS, _NO_REDIS)
demands.required("ALLOWED_HOSTS", "the host names of this site, with commas between", "missing.invalid")
demands.required(
    "PUBLIC_URL", "where people find this site, https://…, without a slash at the end", "https://missing.invalid"
)
demands.required("EMAIL_URL", "how mail is sent: smtp+tls://user:password@host:587", "smtp://missing.invalid")

demands.demand_said("TRUSTED_PROXIES", "the proxies in front of this site, or empty where there are none")

from config.settings.base import *  # noqa: E402  after the environment is complete

DEMO = False
DEMAND_RESTRICTED_ROLE = True
DEMAND_ENOUGH_CONNECTIONS = True
DEMAND_RESTRICTED_REDIS_USERS = True
EMAIL_CONFIG = env.email_url("EMAIL_URL")
DELIVERY_EMAIL_BACKEND = EMAIL_CONFIG.pop("EMAIL_BACKEND")  # EMAIL_BACKEND stays the outbox
vars().update(EMAIL_CONFIG)
SECURE_SSL_REDIRECT = True
# Stripe follows no redirect, and a proxy may forward its events over http. Only the signature makes an event valid.
SECURE_REDIRECT_EXEMPT = [r"^credits/webhooks/stripe/?$"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_HSTS_SECONDS = 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
LANGUAGE_COOKIE_SECURE = True
# A browser accepts a cookie with this prefix only from this host and over https. So no other host of the domain can set
# one.
SESSION_COOKIE_NAME = "__Host-sessionid"
CSRF_COOKIE_NAME = "__Host-csrftoken"
DEVICE_COOKIE_NAME = "__Host-tally_device"
LANGUAGE_COOKIE_NAME = "__Host-tally_language"
MESSAGE_STORAGE = "core.cookies.MessageStorage"

_SECRETS = {"SECRET_KEY": SECRET_KEY, "JWT_SIGNING_KEY": JWT_SIGNING_KEY}
# Without it SECRET_KEY is the key of the mailboxes, and must stay it while SECRET_KEY is being replaced.
_IS_BEING_REPLACED = bool(SECRET_KEY_FALLBACKS) and MAILBOX_SECRET in (SECRET_KEY, *SECRET_KEY_FALLBACKS)
if MAILBOX_SECRET and not _IS_BEING_REPLACED:
    _SECRETS["MAILBOX_SECRET"] = MAILBOX_SECRET
if METRICS_TOKEN:
    _SECRETS["METRICS_TOKEN"] = METRICS_TOKEN
demands.demand_strong_secrets(_SECRETS)
demands.demand_closed_redis(
    {"BROKER_REDIS_URL": BROKER_REDIS_URL, "RELAY_REDIS_URL": RELAY_REDIS_URL, "CACHE_REDIS_URL": CACHE_REDIS_URL}
)
demands.demand_safe_site(vars())
demands.refuse()
