"""How the containers run: as nobody special, unable to write, limited, with logs that end."""

import pytest

from tests.docker.engine import docker

pytestmark = [pytest.mark.docker, pytest.mark.timeout(3600)]


def test_each_is_healthy_and_closed(site):
    services = [name for name in site.services() if name != "mail"]
    assert len(services) == 10
    for name in services:
        found = site.inspect(name)
        host = found["HostConfig"]
        assert docker("exec", found["Id"], "id", "-u") != "0", name
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert host["Memory"] > 0, name
        assert host["RestartPolicy"]["Name"] == "unless-stopped", name
        assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "5"}, name
        refused = docker("exec", found["Id"], "sh", "-c", "touch /etc/x /usr/x; cat /proc/self/status", check=False)
        assert refused.count("Read-only file system") + refused.count("Permission denied") == 2, name
        assert "CapEff:\t0000000000000000" in refused, name


def test_no_environment_has_a_secret(site):
    secrets = [file.read_text().strip() for file in (site.folder / "secrets").iterdir() if file.is_file()]
    secrets = [value for value in secrets if len(value) > 20]
    for name in (*site.services(), "migrate", "models"):
        found = str(site.inspect(name)["Config"])
        assert [value for value in secrets if value in found] == [], name


def test_only_migrate_is_given_the_owner_and_flower_the_broker_alone(site):
    def files(name):
        return {mount["Destination"].rpartition("/")[2] for mount in site.inspect(name)["Mounts"]}

    owners = {name for name in (*site.services(), "migrate", "models") if "database_owner_url" in files(name)}
    assert owners == {"migrate"}
    assert {name for name in files("flower") if "." not in name} == {"broker_redis_url", "flower_basic_auth"}


def test_database_and_redis_are_not_reached_from_outside(site):
    assert site.inspect("postgres")["NetworkSettings"]["Ports"] in ({}, {"5432/tcp": None})
    assert site.inspect("redis")["NetworkSettings"]["Ports"] in ({}, {"6379/tcp": None})
    assert docker("network", "inspect", "--format", "{{.Internal}}", "tallytest_inside") == "true"


def test_a_container_ends_in_time(site):
    """A process that did not get the signal would be killed after the time that compose.yaml gives it."""
    for name in ("web", "worker-default", "worker-demo", "beat", "flower", "nginx"):
        site.compose("stop", name)
        assert site.inspect(name)["State"]["ExitCode"] in (0, 143), name
    site.compose("up", "-d")
    site.wait_until_healthy()
