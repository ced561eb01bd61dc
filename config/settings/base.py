"""Settings of all environments. The modules local, production, test and flower change what differs."""

from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import django_stubs_ext
import environ
from csp.constants import NONCE, NONE, SELF
from django.utils.translation import gettext_lazy as _

from billing.currencies import UnknownCurrency, known_currency
from config.settings.alerts import *
from config.settings.api import *
from config.settings.demands import wrong
from config.settings.inference import *
from config.settings.schedule import *
from core.addresses import read_networks
from core.origins import is_origin

django_stubs_ext.monkeypatch()  # admin.ModelAdmin[Model] and the like work at run time

env = environ.FileAwareEnv()  # SECRET_KEY_FILE names a file with the value of SECRET_KEY, and so on
BASE_DIR = Path(__file__).resolve().parent.parent.parent

SECRET_KEY = env.str("SECRET_KEY")  # signs sessions, cookies and mailed links
SECRET_KEY_FALLBACKS: list[str] = env.list("SECRET_KEY_FALLBACKS", default=[])  # earlier ones that are still believed
JWT_SIGNING_KEY = env.str("JWT_SIGNING_KEY", default="") or SECRET_KEY  # signs the tokens of the API
JWT_SIGNING_KEY_FALLBACKS: list[str] = env.list("JWT_SIGNING_KEY_FALLBACKS", default=[])
DEBUG = False
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", default=[])
PUBLIC_URL = env.str("PUBLIC_URL", default="http://127.0.0.1:8000")
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
# The operator's own texts; without one there is no such page, and no seller on receipts.
BLANKS = "\ufeff \n"
TERMS = env.str("TERMS", default="").strip(BLANKS)
PRIVACY = env.str("PRIVACY", default="").strip(BLANKS)
SELLER = env.str("SELLER", default="").replace("\\n", "\n").strip(BLANKS)

# Addresses and networks of the proxies in front of this site. X-Forwarded-For counts only if it comes from them.
try:
    TRUSTED_PROXIES = read_networks(env.list("TRUSTED_PROXIES", default=[]))
except ValueError as _unreadable:
    wrong(f"TRUSTED_PROXIES: addresses or networks with commas between; {_unreadable}.")
    TRUSTED_PROXIES = ()

INSTALLED_APPS = [
    "accounts",
    "billing",
    "inference",
    "chat",
    "monitoring",
    "backoffice.apps.BackofficeConfig",
    "backoffice.apps.TallyAdminConfig",  # django.contrib.admin
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "corsheaders",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "django_htmx",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]

MIDDLEWARE = [
    "monitoring.health.health_middleware",
    "core.serving.current_request.current_request_middleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "core.rest.middleware.api_middleware",
    "accounts.pages.private_pages.private_pages_middleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "accounts.login.session_store.AuthenticationMiddleware",
    "accounts.pages.languages.LanguageMiddleware",  # it asks who the customer is
    "accounts.pages.staff_entrance.StaffEntranceMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "accounts.pages.ended_sessions.PageMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
            "builtins": ["django.templatetags.i18n", "django.templatetags.static"],
        },
    }
]

# How many processes there are. With the size of their pools, they say how many connections PostgreSQL needs
# (core.postgresql.capacity).
WEB_MACHINES = env.int("WEB_MACHINES", default=1)
WEB_WORKERS = env.int("WEB_WORKERS", default=1)  # web processes of one machine
GPU_WORKERS = env.int("GPU_WORKERS", default=1)  # on all machines together
DEMAND_ENOUGH_CONNECTIONS = False  # whether to refuse a server that has too few
PGBOUNCER = env.bool("PGBOUNCER", default=False)  # in transaction mode, where DATABASE_URL leads to it
DATABASE_POOL_SIZE = env.int("DATABASE_POOL_SIZE", default=20)

# Who may read /metrics: whoever sends this token, and clients in these networks. With neither, nobody may, and the
# duration of requests is not measured.
METRICS_TOKEN = env.str("METRICS_TOKEN", default="").strip()
try:
    METRICS_NETWORKS = read_networks(env.list("METRICS_NETWORKS", default=[]))
except ValueError as _unreadable:
    wrong(f"METRICS_NETWORKS: addresses or networks with commas between; {_unreadable}.")
    METRICS_NETWORKS = ()

# PostgreSQL in every environment. The ASGI threads share a pool: a thread holds a connection only while it works.
DATABASES = {
    "default": {
        **env.db_url("DATABASE_URL"),
        "ENGINE": "core.postgresql",  # its pool hands out no dead connection after a restart of PostgreSQL
        "CONN_MAX_AGE": 0,
        # Behind PgBouncer the next statement may reach another connection, without our cursors and plans.
        "DISABLE_SERVER_SIDE_CURSORS": PGBOUNCER,
        "OPTIONS": {
            "pool": {"min_size": 1, "max_size": DATABASE_POOL_SIZE, "timeout": 10},
            "server_side_binding": True,  # values are sent apart, so a statement keeps its plan (docs/adr/0022)
            "prepare_threshold": None if PGBOUNCER else 3,
        },
    }
}

# The role that owns and migrates the tables. If it is set, the log-in above owns nothing (docs/adr/0028).
DATABASE_OWNER_URL = env.str("DATABASE_OWNER_URL", default="")
DATABASE_APP_ROLE = DATABASES["default"]["USER"] if DATABASE_OWNER_URL else ""  # `migrate` grants it what it needs
DEMAND_RESTRICTED_ROLE = False  # whether to refuse a role with more rights

# Redis in every environment: broker, token relay and cache, each with a Redis user of its own that may do nothing else
# (docs/redis-users.md). No money is recorded in Redis.
REDIS_URL = env.str("REDIS_URL", default="")  # one user for all three, on a development machine
BROKER_REDIS_URL = env.str("BROKER_REDIS_URL", default="") or REDIS_URL
RELAY_REDIS_URL = env.str("RELAY_REDIS_URL", default="") or REDIS_URL
CACHE_REDIS_URL = env.str("CACHE_REDIS_URL", default="") or REDIS_URL
if not (BROKER_REDIS_URL and RELAY_REDIS_URL and CACHE_REDIS_URL):
    wrong("BROKER_REDIS_URL, RELAY_REDIS_URL and CACHE_REDIS_URL must be set (docs/redis-users.md).")
DEMAND_RESTRICTED_REDIS_USERS = False  # whether to refuse users with more rights
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": CACHE_REDIS_URL,
        "KEY_PREFIX": "cache-json",  # its own prefix: entries that an earlier version pickled are never read
        "OPTIONS": {
            "IGNORE_EXCEPTIONS": True,
            "SOCKET_CONNECT_TIMEOUT": 1,
            "SOCKET_TIMEOUT": 1,
            # The default, pickle, can execute what it reads: an attacker with access to Redis could run code here.
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
        },
    }
}

CELERY_BROKER_URL = BROKER_REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_RESULT_BACKEND_THREAD_SAFE = True  # there is no backend; without this, each thread searches all packages for it
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_SERIALIZER = "json"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = True
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # Seconds until an unacknowledged task is delivered again. That is harmless: its row can be claimed only once.
    "visibility_timeout": 300,
    "socket_connect_timeout": 2,
    "socket_timeout": 3,
    "retry_on_timeout": False,
}
# A customer waits while a task is published: after two quick tries the answer is 503.
CELERY_TASK_PUBLISH_RETRY_POLICY = {
    "max_retries": 1,
    "interval_start": 0.1,
    "interval_step": 0.1,
    "interval_max": 0.2,
}

# People
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.BCryptSHA256PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_REDIRECT_URL = "chat:home"
LOGIN_URL = "account_login"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_ADAPTER = "accounts.login.adapter.AccountAdapter"
ACCOUNT_REAUTHENTICATION_REQUIRED = True  # a change of address needs the password again
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300  # seconds; for API keys, counted from the log-in through the API
ACCOUNT_EMAIL_NOTIFICATIONS = True  # the owner gets a mail about a new address or password
ACCOUNT_FORMS = {"signup": "accounts.login.forms.SignupForm"}
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION = True
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_CHANGE_EMAIL = True  # one address; another replaces it once it is confirmed
MFA_ADAPTER = "accounts.login.second_factor.MfaAdapter"
MFA_FORMS = {
    "authenticate": "accounts.login.second_factor_forms.AuthenticateForm",
    "reauthenticate": "accounts.login.second_factor_forms.ReauthenticateForm",
}
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes", "webauthn"]
MFA_TOTP_ISSUER = "Tally"  # what authenticator apps show
MFA_TOTP_TOLERANCE = 1  # a code is good for half a minute more, as clocks differ
MFA_ALLOW_UNVERIFIED_EMAIL = True  # nobody logs in without a confirmed address; a second one waits while it replaces it
# Where operators reach Flower: a path of this site behind the proxy of deploy/nginx, or an address.
FLOWER_URL = env.str("FLOWER_URL", default="/flower/")
# Whether demo accounts enter the admin and /ops/ with their password alone. It counts only in development.
STAFF_WITHOUT_SECOND_FACTOR = env.bool("STAFF_WITHOUT_SECOND_FACTOR", default=False)
PASSWORD_RESET_TIMEOUT = 2 * 3600  # seconds for which a mailed link can set a password
ACCOUNT_DEFAULT_HTTP_PROTOCOL = PUBLIC_URL.partition(":")[0]
EMAIL_BACKEND = "accounts.mail.outbox.OutboxBackend"
DELIVERY_EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"  # what the mail worker sends with
EMAIL_TIMEOUT = env.int("EMAIL_TIMEOUT", default=10)  # seconds for each answer of the mail server
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="Tally <tally@localhost>")

# Security. No unsafe-inline anywhere; scripts and styles come only from this host.
CONTENT_SECURITY_POLICY: dict[str, dict[str, list[Any]]] = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        "worker-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
CSRF_FAILURE_VIEW = "accounts.pages.ended_sessions.csrf_failed"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_ENGINE = "accounts.login.session_store"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
DEVICE_COOKIE_NAME = "tally_device"  # see accounts.login.devices
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_500_000

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("de", _("German"))]
LOCALE_PATHS = [BASE_DIR / "locale"]  # completed and compiled by `python3 -m deploy.messages`
LANGUAGE_COOKIE_NAME = "tally_language"
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600  # seconds
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"
# Of all days and months in the reports of staff (docs/adr/0051). Customers' statements and caps have months of UTC.
REPORTING_TIME_ZONE = env.str("REPORTING_TIME_ZONE", default="UTC").strip()
if REPORTING_TIME_ZONE not in available_timezones():
    wrong(f"REPORTING_TIME_ZONE: {REPORTING_TIME_ZONE!r} is no time zone; write one such as Europe/Berlin.")
    REPORTING_TIME_ZONE = "UTC"
REPORT_MAIL_TO: list[str] = env.list("REPORT_MAIL_TO", default=[])  # the report of each day; nobody: none is sent
if any("@" not in address for address in REPORT_MAIL_TO):
    wrong("REPORT_MAIL_TO: e-mail addresses with commas between.")
    REPORT_MAIL_TO = []

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / ".local" / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# Money. Integers only: microcredits, a millionth of a credit.
# What one person may move, and one customer may get, in 24 hours without a second person's approval (docs/adr/0029).
REFUND_APPROVAL_MICROCREDITS = env.int("REFUND_APPROVAL_MICROCREDITS", default=1_000_000_000)
# Below this balance a customer gets one e-mail; customers may set another limit.
LOW_BALANCE_MICROCREDITS = env.int("LOW_BALANCE_MICROCREDITS", default=5_000_000)
SIGNUP_BONUS_DAYS = env.int("SIGNUP_BONUS_DAYS", default=365)
NEW_CUSTOMER_DAYS = env.int("NEW_CUSTOMER_DAYS", default=14)  # how long a user is new, for promotion codes
SIGNUP_BONUS_MICROCREDITS = env.int("SIGNUP_BONUS_MICROCREDITS", default=10_000_000)
MAILBOX_SECRET = env.str("MAILBOX_SECRET", default="")  # key of the mailbox hashes; empty: SECRET_KEY
CREDITS_PER_MINOR_UNIT = env.int("CREDITS_PER_MINOR_UNIT", default=1)  # one credit costs one cent, or one yen
try:
    TOPUP_CURRENCY = known_currency(env.str("TOPUP_CURRENCY", default="usd"))
except UnknownCurrency as _unknown:
    wrong(f"TOPUP_CURRENCY: {_unknown}.")
    TOPUP_CURRENCY = "usd"
TOPUP_MINOR_BOUNDS = (env.int("TOPUP_LEAST_MINOR", default=100), env.int("TOPUP_MOST_MINOR", default=100_000))
# The class of each provider, by name; the first is the default. An order stays with the provider it was made with.
PAYMENT_PROVIDERS: dict[str, str] = {}
# Stripe is a provider if its secret key is set. With an empty webhook secret, anybody could sign events for credits.
STRIPE_SECRET_KEY = env.str("STRIPE_SECRET_KEY", default="").strip()
STRIPE_WEBHOOK_SECRET = env.str("STRIPE_WEBHOOK_SECRET", default="").strip()
STRIPE_API_BASE = env.str("STRIPE_API_BASE", default="")  # empty: Stripe's own
# The origin of Stripe's payment page, which differs with Stripe's custom domains for Checkout.
STRIPE_CHECKOUT_ORIGINS: list[str] = env.list("STRIPE_CHECKOUT_ORIGINS", default=["https://checkout.stripe.com"])
for _origin in STRIPE_CHECKOUT_ORIGINS:
    if not (is_origin(_origin) and _origin.startswith("https://")):
        wrong(f"STRIPE_CHECKOUT_ORIGINS: write {_origin!r} as https://host, without a path.")
if STRIPE_SECRET_KEY:
    if not STRIPE_WEBHOOK_SECRET:
        wrong("STRIPE_WEBHOOK_SECRET (whsec_...) must be set too, since STRIPE_SECRET_KEY is.")
    PAYMENT_PROVIDERS["stripe"] = "billing.stripe.provider.StripeProvider"
    # The order form is redirected to Stripe's page. Chromium applies `form-action` to the target of the redirect, too.
    CONTENT_SECURITY_POLICY["DIRECTIVES"]["form-action"] += STRIPE_CHECKOUT_ORIGINS
# Tries of promotion codes, as rates of django-ratelimit: a number per second, minute, hour or day (s, m, h, d).
CODE_TRIES_PER_USER = env.str("CODE_TRIES_PER_USER", default="10/h")
CODE_TRIES_PER_ADDRESS = env.str("CODE_TRIES_PER_ADDRESS", default="50/h")
HOLD_LIFETIME_SECONDS = env.int("HOLD_LIFETIME_SECONDS", default=3600)
MIN_AFFORDABLE_TOKENS = env.int("MIN_AFFORDABLE_TOKENS", default=16)
ANSWER_CACHE_PRICE_PERCENT = env.int("ANSWER_CACHE_PRICE_PERCENT", default=10)  # of the model's prices, rounded up
if not 1 <= ANSWER_CACHE_PRICE_PERCENT <= 100:
    wrong("ANSWER_CACHE_PRICE_PERCENT is between 1 and 100.")
# How long old data is kept before it is deleted (accounts.purge, billing.purge).
KEEP_ENDED_LOGINS_DAYS = env.int("KEEP_ENDED_LOGINS_DAYS", default=30)  # of the API, after their end
KEEP_MAILS_DAYS = env.int("KEEP_MAILS_DAYS", default=30)  # recipients and subject; the text goes earlier
KEEP_ADMIN_LOG_DAYS = env.int("KEEP_ADMIN_LOG_DAYS", default=400)  # Django's notes; the audit log is kept
KEEP_EVENT_BODIES_DAYS = env.int("KEEP_EVENT_BODIES_DAYS", default=90)  # of payment providers
KEEP_READ_NOTICES_DAYS = env.int("KEEP_READ_NOTICES_DAYS", default=90)  # after they were read
CONVERSATION_UNDO_HOURS = env.int("CONVERSATION_UNDO_HOURS", default=24)  # then a deleted one is erased
KEEP_NOTICES_DAYS = env.int("KEEP_NOTICES_DAYS", default=400)  # read or not
# Values that would only fail with the first customer are refused at the start.
_LEAST = {
    "REFUND_APPROVAL_MICROCREDITS": 0,
    "LOW_BALANCE_MICROCREDITS": 0,
    "SIGNUP_BONUS_MICROCREDITS": 0,
    "SIGNUP_BONUS_DAYS": 1,
    "NEW_CUSTOMER_DAYS": 0,
    "CREDITS_PER_MINOR_UNIT": 1,
    "HOLD_LIFETIME_SECONDS": 1,
    "MIN_AFFORDABLE_TOKENS": 1,
    "KEEP_ENDED_LOGINS_DAYS": 0,
    "KEEP_ADMIN_LOG_DAYS": 1,
    "KEEP_EVENT_BODIES_DAYS": 7,  # Stripe repeats an event for three days
    "KEEP_READ_NOTICES_DAYS": 0,
    "CONVERSATION_UNDO_HOURS": 1,
    "KEEP_NOTICES_DAYS": 7,  # so that customers can read them
    "EMAIL_TIMEOUT": 1,
    "DATABASE_POOL_SIZE": 4,  # a web process with fewer lets its threads wait for each other
    "WEB_MACHINES": 1,
    "WEB_WORKERS": 1,
    "GPU_WORKERS": 0,
    "KEEP_MAILS_DAYS": 2,  # a mail is tried for a day at most
}
for _name, _least in _LEAST.items():
    if vars()[_name] < _least:
        wrong(f"{_name} is at least {_least}.")
if not 1 <= TOPUP_MINOR_BOUNDS[0] <= TOPUP_MINOR_BOUNDS[1]:
    wrong("TOPUP_LEAST_MINOR is at least 1, and TOPUP_MOST_MINOR is not less than it.")

READY_DIR = env.str("READY_DIR", default="")  # workers touch a file named after them here once they are ready

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
}
