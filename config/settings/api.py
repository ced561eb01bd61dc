"""Settings of the two APIs, and the limits of requests to the APIs and the pages. `base` imports them."""

from datetime import timedelta

import environ

from config.settings.demands import wrong
from core.origins import is_origin

env = environ.FileAwareEnv()

# Requests and tokens per minute, counted in Redis for all processes together. Beyond a limit the API answers 429.
API_USER_REQUESTS_PER_MINUTE = env.int("API_USER_REQUESTS_PER_MINUTE", default=1200)
API_KEY_REQUESTS_PER_MINUTE = env.int("API_KEY_REQUESTS_PER_MINUTE", default=600)
API_ADDRESS_REQUESTS_PER_MINUTE = env.int("API_ADDRESS_REQUESTS_PER_MINUTE", default=120)  # without a log-in
API_USER_TOKENS_PER_MINUTE = env.int("API_USER_TOKENS_PER_MINUTE", default=1_000_000)
API_KEY_TOKENS_PER_MINUTE = env.int("API_KEY_TOKENS_PER_MINUTE", default=500_000)
API_BODY_BYTES = env.int("API_BODY_BYTES", default=1_000_000)

# Requests of one user to the pages, per minute (accounts.callers.page_limits).
PAGE_LIMITS = {
    "estimates": env.int("PAGE_ESTIMATES_PER_MINUTE", default=120),  # the page sends one at each pause in typing
    "searches": env.int("PAGE_SEARCHES_PER_MINUTE", default=30),
    "exports": env.int("PAGE_EXPORTS_PER_MINUTE", default=10),
    "shared": env.int("PAGE_SHARED_PER_MINUTE", default=60),  # of shared conversations, by a stranger's network
    "streams": env.int("PAGE_STREAMS_PER_MINUTE", default=120),  # a hidden tab begins one when it is shown again
}
# Streams of one user at the same time, on the pages and through /api/v1 together (inference.relay.open_streams).
MAX_OPEN_STREAMS_OF_USER = env.int("MAX_OPEN_STREAMS_OF_USER", default=12)

# The origins whose pages may call the APIs from a browser, or "*" for all. Such a page must send a key or a token
# itself: cookies are never accepted (no Access-Control-Allow-Credentials). CORS covers the APIs, and not the pages.
CORS_ORIGINS: list[str] = env.list("CORS_ORIGINS", default=[])
for _origin in CORS_ORIGINS:
    if not is_origin(_origin):
        wrong(f'CORS_ORIGINS: {_origin} is neither "*" nor like https://app.example.com.')
CORS_ALLOW_ALL_ORIGINS = "*" in CORS_ORIGINS
CORS_ALLOWED_ORIGINS = [origin for origin in CORS_ORIGINS if origin != "*"]
CORS_URLS_REGEX = r"^/(api/)?v1/"
# "*" stands for every header but Authorization, which browsers need by name. Older browsers do not know "*".
CORS_ALLOW_HEADERS = ["*", "authorization", "content-type", "idempotency-key", "if-none-match", "last-event-id"]
CORS_EXPOSE_HEADERS = [
    "*",
    "allow",
    "etag",
    "openai-processing-ms",
    "retry-after",
    "www-authenticate",
    "x-request-id",
    "idempotent-replayed",
    "x-should-retry",
    *(f"x-ratelimit-{name}" for name in ("limit", "remaining", "reset")),
    *(f"x-ratelimit-{name}-{what}" for name in ("limit", "remaining", "reset") for what in ("requests", "tokens")),
]

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.callers.authentication.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.callers.authentication.LoggedIn"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["core.rest.json.StrictJson"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "core.rest.json.AlwaysJson",
    "DEFAULT_SCHEMA_CLASS": "core.rest.schema.TallySchema",
    "EXCEPTION_HANDLER": "core.rest.problems.handle_exception",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=10),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=14),
    "SIGNING_KEY": "",  # accounts.login.tokens has the keys
    "ISSUER": "tally",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Tally",
    "VERSION": "1",
    "DESCRIPTION": "Answers of Gemma 3, paid by the token from pre-paid credits. Amounts are integers in microcredits "
    "(1 credit = 1,000,000), beside them the same in credits as a decimal string. Times are UTC. Lists come in cursor "
    "pages. Reads carry an ETag. Errors are problem details (RFC 9457).",
    "SERVERS": [{"url": env.str("PUBLIC_URL", default="http://127.0.0.1:8000")}],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "APPEND_COMPONENTS": {
        "securitySchemes": {
            "ApiKey": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "tly_...",
                "description": "A key of POST /api/v1/keys. It does what its scopes say.",
            },
            "AccessToken": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "`access` of POST /api/v1/auth/token, good for ten minutes. It does all its user may.",
            },
        }
    },
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "inference.openai.schema.add_openai_paths",
        "core.rest.schema.say_int64",
    ],
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}
