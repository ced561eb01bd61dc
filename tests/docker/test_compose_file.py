"""compose.yaml as it is written: every service is closed and limited, and every secret is a file."""

import re

import pytest
import yaml
from django.conf import settings

from deploy import roles
from deploy.container.entrypoint import ROLES
from deploy.local.stack import NOT_FOR_FLOWER

COMPOSE = yaml.safe_load((settings.BASE_DIR / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
NO_SECRET = {"DATABASE_OWNER_URL", "REDIS_URL", "HF_TOKEN", "SECRET_KEY_FALLBACKS", "JWT_SIGNING_KEY_FALLBACKS"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_closed_and_limited(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert service["restart"] == ("no" if name in ("migrate", "models") else "unless-stopped")
    assert "privileged" not in service


def test_every_role_has_a_service_and_every_service_a_role():
    commands = {service["command"][0] for name, service in SERVICES.items() if "build" in service}
    assert commands == set(ROLES)
    assert {f"worker-{name}" for name in roles.SIDE_WORKERS} <= set(SERVICES)


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "env_file" in service])
def test_every_secret_setting_comes_from_a_file_that_is_mounted(name):
    service = SERVICES[name]
    files = {key: value for key, value in service["environment"].items() if key.endswith("_FILE")}
    wanted = {"SECRET_KEY", "DATABASE_URL", "BROKER_REDIS_URL", "RELAY_REDIS_URL", "CACHE_REDIS_URL"}
    wanted |= set(NOT_FOR_FLOWER) - NO_SECRET
    assert wanted <= {key.removesuffix("_FILE") for key in files}
    assert {value.removeprefix("/run/secrets/") for value in files.values()} == set(service["secrets"])


def test_every_secret_that_is_mounted_is_declared_and_no_other():
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", ())}
    assert used == set(COMPOSE["secrets"])
    assert [secret["file"] for secret in COMPOSE["secrets"].values()] == [
        f"./secrets/{name}" for name in COMPOSE["secrets"]
    ]


def test_the_owner_of_the_tables_is_known_to_migrate_alone():
    assert [name for name, service in SERVICES.items() if "database_owner_url" in service.get("secrets", ())] == [
        "migrate"
    ]


def test_only_nginx_is_reached_from_elsewhere_and_the_trial_and_grafana_from_this_machine():
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports.keys() == {"web", "nginx", "grafana"}
    of_this_machine = [*ports["web"], *ports["grafana"]]
    assert [port for port in of_this_machine if not port.startswith("127.0.0.1:")] == []
