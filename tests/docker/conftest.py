"""A Docker engine, the two images from a clean clone, and a running site: each is made once."""

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.docker.customer import new_address, sign_up
from tests.docker.engine import docker, why_not_here
from tests.docker.site import PROJECT, Site


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A clean clone with an operator's files in it. Skips where there is no engine."""
    if reason := why_not_here():
        pytest.skip(f"Docker: {reason}")
    site = Site(tmp_path_factory.mktemp("docker") / "tally")
    site.clone()
    site.configure()
    return site


@pytest.fixture(scope="session")
def images(clone: Site) -> dict[str, str]:
    """The names of both images, built."""
    clone.compose("build", "web", "worker-demo", "postgres", "redis", "nginx")
    return {"web": "tally-web:test", "worker": "tally-worker:cpu-test"}


@pytest.fixture(scope="session")
def site(clone: Site, images: dict[str, str]) -> Iterator[Site]:
    """The whole site, started once. KEEP_DOCKER_SITE=1 leaves it running."""
    with suppress(AssertionError):  # one of an earlier run, with other passwords
        clone.compose("down", "--volumes")
    try:
        clone.up()
        yield clone
    finally:
        print(clone.compose("logs", "--no-color", "--tail=20", check=False))
        if not os.environ.get("KEEP_DOCKER_SITE"):
            clone.compose("down", "--volumes", check=False)
            assert docker("ps", "-q", "-f", f"label=com.docker.compose.project={PROJECT}") == ""


@pytest.fixture
def open_page(chromium: Any, site: Site) -> Iterator[Any]:
    """Call it for a page of a new browser that believes the certificate; script errors fail the test."""
    contexts: list[Any] = []
    errors: list[str] = []

    def new_page() -> Any:
        context = chromium.new_context(base_url=site.url, ignore_https_errors=True)
        contexts.append(context)
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        return page

    yield new_page
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture
def newcomer(site: Site, open_page: Any) -> tuple[Any, str]:
    """The page of somebody who has just signed up, and the address."""
    page, email = open_page(), new_address()
    sign_up(site, page, email)
    return page, email
