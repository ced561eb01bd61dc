"""Settings for production: everything that must be set comes from the environment, without demo defaults."""

from config.settings.base import *

DEMO = False
DEMAND_RESTRICTED_ROLE = True
DEMAND_RESTRICTED_REDIS_USERS = True
BROKER_REDIS_URL = env.str("BROKER_REDIS_URL")
RELAY_REDIS_URL = env.str("RELAY_REDIS_URL")
CACHE_REDIS_URL = env.str("CACHE_REDIS_URL")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS")
PUBLIC_URL = env.str("PUBLIC_URL")
env.str("TRUSTED_PROXIES")  # must be set, even if there are none: see .env.example
EMAIL_CONFIG = env.email_url("EMAIL_URL")
DELIVERY_EMAIL_BACKEND = EMAIL_CONFIG.pop("EMAIL_BACKEND")  # EMAIL_BACKEND stays the outbox
vars().update(EMAIL_CONFIG)
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
SECURE_SSL_REDIRECT = True
# Stripe follows no redirect, and a proxy may forward its events over http. Only the signature makes an event valid.
SECURE_REDIRECT_EXEMPT = [r"^credits/webhooks/stripe/?$"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_HSTS_SECONDS = 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
# A browser accepts a cookie with this prefix only from this host and over https. So no other host of the domain can set
# one.
SESSION_COOKIE_NAME = "__Host-sessionid"
CSRF_COOKIE_NAME = "__Host-csrftoken"
DEVICE_COOKIE_NAME = "__Host-tally_device"
MESSAGE_STORAGE = "core.cookies.MessageStorage"
