"""Static files, which nginx serves without the application, as `collectstatic` leaves them in production."""

import gzip
import re

import pytest
from django.core.management import call_command
from django.test import override_settings

from tests.core.postgresql.production import read_production
from tests.support.nginx import needs_nginx

pytestmark = needs_nginx

FOR_EVER = "public, max-age=31536000, immutable"


@pytest.fixture(scope="module")
def collected(away):
    """The folder of an nginx whose application is away, filled."""
    with pytest.MonkeyPatch.context() as patch:
        storages = read_production(patch)["STORAGES"]
    with override_settings(STORAGES=storages, STATIC_ROOT=away.directory / "static", DEBUG=False):
        call_command("collectstatic", interactive=False, verbosity=0)
    return away.directory / "static"


def hashed(collected, pattern):
    [file] = [file for file in collected.glob(pattern) if re.search(r"\.[0-9a-f]{12}\.\w+$", file.name)]
    return file


def test_a_file_with_a_hash_in_its_name_is_kept_for_ever_and_was_compressed_before(collected, away, visit):
    file = hashed(collected, "tally.*.css")
    answer = visit(away).get(f"/static/{file.name}")
    assert answer.status_code == 200
    assert answer.content == file.read_bytes()
    assert answer.headers["Content-Encoding"] == "gzip"
    assert int(answer.headers["Content-Length"]) == file.with_name(f"{file.name}.gz").stat().st_size
    assert answer.headers["Cache-Control"] == FOR_EVER
    assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
    assert answer.headers["Vary"] == "Accept-Encoding"
    for name in ("X-Content-Type-Options", "Cross-Origin-Resource-Policy", "Content-Security-Policy"):
        assert len(answer.headers.get_list(name)) == 1


def test_a_client_without_gzip_gets_it_plain(collected, away, visit):
    file = hashed(collected, "tally.*.js")
    answer = visit(away).get(f"/static/{file.name}", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in answer.headers
    assert answer.content == file.read_bytes()
    assert answer.headers["Content-Type"].endswith("javascript; charset=utf-8")


def test_a_file_whose_name_may_stay_is_asked_for_again(collected, away, visit):
    answer = visit(away).get("/static/tally.css")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "public, max-age=60"


def test_what_is_gzipped_is_what_is_there(collected):
    file = hashed(collected, "tally.*.css")
    assert gzip.decompress(file.with_name(f"{file.name}.gz").read_bytes()) == file.read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "/static/../nginx.conf",
        "/static/%2e%2e/nginx.conf",
        "/static/..%2fnginx.conf",
        "/static../nginx.conf",
        "/static/..%5cnginx.conf",
        "/static//%2e%2e//nginx.conf",
        "/static/%00../nginx.conf",
    ],
)
def test_no_path_leads_out_of_the_folder(away, path):
    assert (away.directory / "nginx.conf").exists()
    told = away.curl(path, "--path-as-is", "-w", "%{http_code}")
    assert told[-3:] in ("400", "404", "503")
    assert "worker_processes" not in told


@pytest.mark.parametrize("path", ["/static/", "/static/admin/", "/static/none.css"])
def test_folders_are_not_listed_and_what_is_missing_is_missing(collected, away, visit, path):
    answer = visit(away).get(path)
    assert answer.status_code == 404
    assert "immutable" not in answer.headers.get("Cache-Control", "")
