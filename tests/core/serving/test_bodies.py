"""Bodies however clients send them: in chunks, compressed, beside an offer to change the protocol. On a real server."""

import gzip
import json
import shutil
import socket
import subprocess
import tracemalloc
import zlib

import httpx
import pytest

from tests.support.asgi import serve

pytestmark = pytest.mark.django_db(transaction=True)

PROMPT = {"model": "no-such-model", "messages": [{"role": "user", "content": "Hello"}]}
TOKEN = {"email": "nobody@example.com", "password": "wrong"}
JSON_HEAD = {"Content-Type": "application/json"}
RAW_DEFLATE = zlib.compressobj(wbits=-15)
CODINGS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZip": gzip.compress,
    "deflate": zlib.compress,
    "identity": bytes,
}
# Where a body is read, and what says that it was: the answer names what the body asked for.
DOORS = {
    "/v1/chat/completions": (PROMPT, 404, "no-such-model"),
    "/api/v1/auth/token": (TOKEN, 401, ""),
}


@pytest.fixture(scope="module")
def url():
    with serve() as address:
        yield address


@pytest.fixture
def head(alice):
    from accounts import api_keys

    text = api_keys.create_key(user=alice, name="test", scopes=["chat"])[1]
    return JSON_HEAD | {"Authorization": f"Bearer {text}"}


def in_pieces(content, size=7):
    return (content[start : start + size] for start in range(0, len(content), size))


def demand_read(answer, path):
    _body, status, words = DOORS[path]
    assert answer.status_code == status, answer.text
    assert words in answer.text


@pytest.mark.parametrize("path", DOORS)
def test_a_body_in_chunks_is_read(url, head, path):
    content = json.dumps(DOORS[path][0]).encode()
    demand_read(httpx.post(f"{url}{path}", content=in_pieces(content), headers=head), path)


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_compressed_body_is_read(url, head, path, coding, is_chunked):
    content = CODINGS[coding](json.dumps(DOORS[path][0]).encode())
    sent = in_pieces(content) if is_chunked else content
    demand_read(httpx.post(f"{url}{path}", content=sent, headers=head | {"Content-Encoding": coding}), path)


def test_deflate_without_its_header_is_read_as_some_clients_send_it(url, head):
    content = RAW_DEFLATE.compress(json.dumps(PROMPT).encode()) + RAW_DEFLATE.flush()
    answer = httpx.post(f"{url}/v1/chat/completions", content=content, headers=head | {"Content-Encoding": "deflate"})
    demand_read(answer, "/v1/chat/completions")


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_form_of_a_page_is_read_too(url, is_chunked):
    """The page checks its CSRF token, which is in the body."""
    with httpx.Client(base_url=url) as client:
        client.get("/accounts/login/")
        form = f"csrfmiddlewaretoken={client.cookies['csrftoken']}&login=a%40b.example&password=x".encode()
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = client.post("/accounts/login/", content=in_pieces(form) if is_chunked else form, headers=kind)
    assert answer.status_code == 200


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_file_of_a_page_in_chunks_is_read_too(url, is_chunked):
    boundary = b"----x"
    with httpx.Client(base_url=url) as client:
        client.get("/accounts/login/")
        token = client.cookies["csrftoken"].encode()
        field = b'--%b\r\nContent-Disposition: form-data; name="csrfmiddlewaretoken"\r\n\r\n%b\r\n--%b--\r\n'
        form = field % (boundary, token, boundary)
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary.decode()}"}
        answer = client.post("/accounts/login/", content=in_pieces(form) if is_chunked else form, headers=kind)
    assert answer.status_code == 200


@pytest.mark.parametrize("path", [*DOORS, "/accounts/login/"])
@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "nonsense"])
def test_a_coding_that_we_do_not_know_is_refused_by_name(url, head, path, coding):
    answer = httpx.post(f"{url}{path}", content=b"{}", headers=head | {"Content-Encoding": coding})
    assert answer.status_code == 415
    assert answer.headers["Accept-Encoding"] == "gzip, deflate"
    assert "gzip" in answer.text
    assert "deflate" in answer.text
    if path.startswith("/v1/"):
        assert answer.json()["error"]["code"] == "unsupported_content_encoding"


@pytest.mark.parametrize("path", [*DOORS, "/accounts/login/"])
@pytest.mark.parametrize(
    "content",
    [b"{}", gzip.compress(b"{}")[:-3], gzip.compress(b"{}") + b"more"],
    ids=["plain", "cut off", "something after its end"],
)
def test_a_body_that_is_not_what_it_says_is_a_bad_request(url, head, path, content):
    answer = httpx.post(f"{url}{path}", content=content, headers=head | {"Content-Encoding": "gzip"})
    assert answer.status_code == 400
    assert "gzip" in answer.text


@pytest.mark.parametrize(("path", "most"), [("/v1/chat/completions", 1_000_000), ("/accounts/login/", 2_500_000)])
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_bomb_is_refused_and_takes_little_memory(url, head, path, most, coding):
    bomb = CODINGS[coding](b" " * 100_000_000)  # a hundred kilobytes
    tracemalloc.start()
    try:
        answer = httpx.post(f"{url}{path}", content=bomb, headers=head | {"Content-Encoding": coding})
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer.status_code == 413
    assert peak < 4 * most + 10_000_000


@pytest.mark.parametrize("path", [*DOORS, "/accounts/login/"])
def test_chunks_that_become_too_many_are_refused_as_too_large(url, path):
    host, port = url.removeprefix("http://").split(":")
    chunk = b"%x\r\n" % 100_000 + b"x" * 100_000 + b"\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with socket.create_connection((host, int(port)), timeout=10) as wire:
        wire.sendall(head + chunk * (11 if path != "/accounts/login/" else 26))
        answer = wire.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_small_compressed_body_within_the_limit_may_be_as_large_as_any(url, head, settings):
    content = json.dumps(PROMPT).encode().ljust(settings.API_BODY_BYTES)
    coded = head | {"Content-Encoding": "gzip"}
    answer = httpx.post(f"{url}/v1/chat/completions", content=gzip.compress(content), headers=coded)
    demand_read(answer, "/v1/chat/completions")
    answer = httpx.post(f"{url}/v1/chat/completions", content=gzip.compress(content + b" "), headers=coded)
    assert answer.status_code == 413


# Offers to change to another protocol.

OFFERS = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAA\r\n",
    "websocket": b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n",
    "TLS": b"Connection: upgrade\r\nUpgrade: TLS/1.2, HTTP/1.1\r\n",
    "twice": b"Upgrade: h2c\r\nConnection: upgrade\r\nUpgrade: foo/2\r\n",
}


def talk(url, *requests, pause=0.0):
    """What is answered to these requests on one connection, whose last one closes it."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as wire:
        for request in requests:
            for piece in in_pieces(request, 50) if pause else (request,):
                wire.sendall(piece)
        answer = b""
        while piece := wire.recv(65_536):
            answer += piece
    return answer


def request(head, offer, body=None, *, is_chunked=False, closes=False):
    content = json.dumps(PROMPT).encode() if body is None else body
    framing = b"Content-Length: %d\r\n\r\n" % len(content) + content
    if is_chunked:
        framing = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
    fields = "".join(f"{name}: {value}\r\n" for name, value in head.items()).encode()
    closing = b"Connection: close\r\n" if closes else b""
    return b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n" + fields + closing + offer + framing


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("pause", [0.0, 0.01])
def test_an_offer_is_ignored_and_the_body_is_read(url, head, offer, is_chunked, pause):
    first = request(head, OFFERS[offer], is_chunked=is_chunked)
    last = request(head, b"", closes=True)
    answers = talk(url, first, last, pause=pause).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"404", b"404"]
    assert all(b"no-such-model" in answer for answer in answers)


def test_many_offers_on_one_connection_are_each_answered(url, head):
    offers = [request(head, OFFERS["h2c"], is_chunked=bool(number % 2)) for number in range(20)]
    answer = talk(url, b"".join([*offers, request(head, b"", closes=True)]))
    assert answer.count(b"no-such-model") == 21


def test_thousands_of_offers_at_once_break_nothing(url):
    line = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as wire:
        wire.sendall(line * 2000)
        assert wire.recv(4096).startswith(b"HTTP/1.1 200")
    assert httpx.get(f"{url}/healthz").status_code == 200


def test_an_offer_does_not_lengthen_what_a_head_may_have(url, head):
    answer = talk(url, request(head, OFFERS["h2c"] + b"X-Large: " + b"x" * 40_000 + b"\r\n"))
    assert answer.startswith(b"HTTP/1.1 431")


def test_a_request_to_open_a_tunnel_is_refused(url):
    answer = talk(url, b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
    assert answer.split()[1] in (b"400", b"405")


def test_http2_without_an_offer_is_refused_and_nothing_breaks(url):
    answer = talk(url, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 27)
    assert answer.startswith(b"HTTP/1.1 400")


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl on this machine (Debian's package curl)")
@pytest.mark.parametrize("options", [[], ["-H", "Transfer-Encoding: chunked"]], ids=["whole", "chunked"])
def test_curl_that_offers_http2_is_answered(url, head, options):
    fields = [part for name, value in head.items() for part in ("-H", f"{name}: {value}")]
    command = ["curl", "--silent", "--http2", "--max-time", "10", *fields, *options]
    done = subprocess.run(
        [*command, "--data-binary", json.dumps(PROMPT), f"{url}/v1/chat/completions"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "no-such-model" in done.stdout


JAVA = """
import java.net.URI;
import java.net.http.*;

public class Ask {
    public static void main(String[] words) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(words[0] + "/v1/chat/completions"))
            .header("Content-Type", "application/json").header("Authorization", words[1])
            .POST(HttpRequest.BodyPublishers.ofString(words[2])).build();
        System.out.println(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body());
    }
}
"""


@pytest.mark.skipif(not shutil.which("javac"), reason="there is no JDK on this machine (Debian's package default-jdk)")
def test_javas_own_client_is_answered(url, head, tmp_path):
    (tmp_path / "Ask.java").write_text(JAVA)
    command = ["java", tmp_path / "Ask.java", url, head["Authorization"], json.dumps(PROMPT)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "no-such-model" in done.stdout
