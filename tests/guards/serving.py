"""Between the web server and Django: bodies, comments in streams, other origins."""

from tests.guards.guard import Guard

BODIES = "tests/core/serving/test_bodies.py"

SERVING = [
    Guard(
        "comment inside an event",
        "core/serving/keep_alive.py",
        "                if self._is_between_events:",
        "                if True:",
        "tests/core/serving/test_keep_alive.py",
        "no_comment_lands_inside_an_event",
    ),
    Guard(
        "comment after the end",
        "core/serving/keep_alive.py",
        "            self._comments.cancel()",
        "            pass",
        "tests/core/serving/test_keep_alive.py",
        "is_the_last_that_is_sent or comments_come_while",
    ),
    Guard(
        "bomb",
        "core/serving/bodies.py",
        "machine.decompress(content, most_bytes + 1)",
        "machine.decompress(content)",
        BODIES,
        "a_bomb",
    ),
    Guard(
        "chunks without end",
        "core/serving/bodies.py",
        "            if len(content) > self._most_bytes:",
        "            if False:",
        BODIES,
        "chunks_that_become_too_many",
    ),
    Guard(
        "body lost beside an offer",
        "core/serving/web_server.py",
        'self._to_parse = b"".join([line, *fields, b"\\r\\n", rest])',
        'self._to_parse = b"".join([line, *fields, b"\\r\\n"])',
        BODIES,
        "an_offer_is_ignored",
    ),
    Guard(
        "CORS of pages",
        "config/settings/api.py",
        'CORS_URLS_REGEX = r"^/(api/)?v1/"',
        'CORS_URLS_REGEX = r"^/"',
        "tests/config/test_cors.py",
        "pages_are_read_by_no_other_origin",
    ),
    Guard(
        "front door in shared caches",
        "chat/pages/public/front.py",
        "@cache_control(private=True, no_cache=True)",
        "@cache_control(public=True, max_age=60)",
        "tests/chat/pages/public/test_front.py",
        "no_shared_cache_keeps_the_front_door",
    ),
    Guard(
        "languages in shared caches",
        "accounts/pages/public_pages.py",
        "for_all if named_language(request) else for_the_reader",
        "for_all",
        "tests/accounts/pages/test_languages.py",
        "caches_share_a_page_only",
    ),
    Guard(
        "strangers load the database",
        "accounts/pages/public_pages.py",
        'cache.get_or_set(f"public-page:{get_language()}:{name}", render, seconds)',
        "render()",
        "tests/chat/pages/public/test_front.py",
        "ask_the_database_once",
    ),
    Guard(
        "too few connections",
        "core/postgresql/capacity.py",
        "    if finding and settings.DEMAND_ENOUGH_CONNECTIONS:",
        "    if False:",
        "tests/core/postgresql/test_capacity.py",
        "production_refuses_it",
    ),
]
