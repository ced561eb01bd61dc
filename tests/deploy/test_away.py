"""What nginx shows while the application is away, and that it sends no request twice."""

import pytest

from inference.catalogue import DEMO_KEY
from inference.models import Generation
from tests.deploy.formats import FORMATS, demand_error
from tests.deploy.names import name_server
from tests.support.asgi import serve
from tests.support.dropping_proxy import losing
from tests.support.nginx import needs_nginx
from tests.support.openai_clients import price
from tests.support.stack import wait_until

pytestmark = needs_nginx

QUESTION = {"model": DEMO_KEY, "messages": [{"role": "user", "content": "Hello"}]}
FIRST, SECOND = {"x-stainless-retry-count": "0"}, {"x-stainless-retry-count": "1"}


@pytest.mark.parametrize("path", FORMATS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_each_client_is_told_in_its_format_that_the_application_is_away(away, visit, path, method):
    answer = visit(away).request(method, path)
    demand_error(answer, path, 503)
    assert answer.headers["Retry-After"] == "5"
    assert "costs nothing" in answer.text


def test_an_official_client_may_ask_again(away, visit):
    assert visit(away).post("/v1/chat/completions").headers["X-Should-Retry"] == "true"


def test_the_health_check_says_so_under_any_name(away):
    status = away.curl(f"http://127.0.0.1:{away.http_port}/healthz", "-o", "/dev/null", "-w", "%{http_code}")
    assert status == "503"
    assert away.curl(f"http://127.0.0.1:{away.http_port}/nginx-health") == "ok\n"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_that_loses_its_application_is_not_sent_again(opened, visit, breaking, method):
    with name_server(*breaking.addresses) as names:
        client = visit(opened(f"web.test:{breaking.port}", resolver=names.address))
        demand_error(client.request(method, "/v1/chat/completions"), "/v1/chat/completions", 503)
    assert breaking.requests == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_as_in_production")
def test_an_application_that_comes_with_another_address_is_found(opened, visit):
    """nginx starts while nobody knows its name, as before a container is there."""
    with serve() as url, name_server() as names:
        web = f"web.test:{url.rpartition(':')[2]}"
        client = visit(opened(web, resolver=names.address, changes={"valid=5s": "valid=1s"}))
        demand_error(client.get("/"), "/", 503)
        names.addresses = ["127.0.0.3"]  # nobody listens there
        demand_error(client.get("/"), "/", 503)
        names.addresses = ["127.0.0.1"]
        wait_until(lambda: client.get("/accounts/login/").status_code == 200, 10, "the new address")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_as_in_production")
def test_the_page_stands_there_once_the_application_goes(opened, visit):
    with serve() as url:
        client = visit(opened(url.removeprefix("http://")))
        assert client.get("/accounts/login/").status_code == 200
    demand_error(client.get("/"), "/", 503)


@pytest.mark.django_db(transaction=True)
def test_an_answer_that_was_lost_is_made_once_and_paid_once(server, opened, visit, http, paid, faults):
    with losing(server.url, 1) as url:
        client = visit(opened(url.removeprefix("http://")), headers={"Authorization": http.headers["Authorization"]})
        lost = client.post("/v1/chat/completions", json=QUESTION, headers=FIRST)
        assert lost.status_code == 503
        again = client.post("/v1/chat/completions", json=QUESTION, headers=SECOND)
    generation = Generation.objects.get()
    assert again.json()["choices"][0]["message"]["content"] == generation.text
    assert paid() == (price(generation), 0)
    assert faults() == []
