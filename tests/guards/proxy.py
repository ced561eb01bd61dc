"""nginx in front of Tally."""

from tests.guards.guard import Guard

SITE = "deploy/nginx/templates/tally.conf.template"
ADDRESSES = "tests/deploy/test_addresses_and_headers.py"
LIMITS = "tests/deploy/test_limits.py"
AWAY = "tests/deploy/test_away.py"
OPERATORS = "tests/deploy/test_operators.py"

PROXY = [
    Guard("request sent twice", SITE, "proxy_next_upstream off;", "", AWAY, "is_not_sent_again"),
    Guard(
        "forgotten address",
        SITE,
        'map "" $tally_web { default "${TALLY_WEB}"; }',
        'upstream tally_server { server ${TALLY_WEB}; }\nmap "" $tally_web { default "tally_server"; }',
        AWAY,
        "another_address",
    ),
    Guard(
        "stream held back",
        SITE,
        "    gzip_types text/css",
        "    gzip_types text/event-stream text/css",
        "tests/deploy/test_streams.py",
        "a_stream_of_the_openai_api",
    ),
    Guard(
        "forged address",
        SITE,
        "X-Forwarded-For $remote_addr;",
        "X-Forwarded-For $http_x_forwarded_for;",
        ADDRESSES,
        "who_forges_addresses",
    ),
    Guard(
        "forged scheme",
        SITE,
        "X-Forwarded-Proto $scheme;",
        "X-Forwarded-Proto $http_x_forwarded_proto;",
        ADDRESSES,
        "forged_headers",
    ),
    Guard("path with dots", SITE, "    if ($tally_has_dots) { return 400; }\n", "", ADDRESSES, "path_with_dots"),
    Guard(
        "links in the log",
        SITE,
        '    "~^(?<tally_link>/accounts/(open|confirm-email|password/reset/key))/" "$tally_link/...";\n',
        "",
        ADDRESSES,
        "access_log",
    ),
    Guard(
        "any name",
        SITE,
        "    location / { return 444; }",
        "    location / { proxy_pass http://$tally_web; }",
        ADDRESSES,
        "other_names",
    ),
    Guard("session tickets", SITE, "    ssl_session_tickets off;\n", "", ADDRESSES, "tls_is_of_today"),
    Guard(
        "strangers in the admin",
        SITE,
        "        deny all;\n        client_max_body_size 1000000;",
        "        client_max_body_size 1000000;",
        OPERATORS,
        "strangers_are_refused",
    ),
    Guard(
        "metrics of Flower",
        SITE,
        "    location ~* ^/flower/+(metrics|healthcheck) { return 404; }\n",
        "",
        OPERATORS,
        "metrics_are_for_nobody",
    ),
    Guard(
        "flood of log-ins",
        SITE,
        "    limit_req zone=tally_logins burst=30 nodelay;\n",
        "",
        LIMITS,
        "log_ins_have_a_limit",
    ),
    Guard(
        "flood of requests",
        SITE,
        "zone=tally_requests:10m rate=60r/s;",
        "zone=tally_requests:10m rate=99999r/s;",
        LIMITS,
        "burst_of_240",
    ),
    Guard(
        "many addresses of one network",
        SITE,
        '    "~(?s)^(?<tally_network>.{8}).{8}$" $tally_network;\n',
        "",
        LIMITS,
        "network_of_ipv6",
    ),
    Guard(
        "out of the static files",
        SITE,
        "    location /static/ {",
        "    location /static {",
        "tests/deploy/test_static_files.py",
        "no_path_leads_out",
    ),
]
