"""The command line of each process of Tally: startup.py and the containers both take it from here.

Every function returns what follows `python -m`. Only the standard library is used, since startup.py runs before
anything is installed.
"""

from pathlib import Path

GPU_NODE = "gpu"  # a worker's node is called so before the @; with READY_DIR its file has that name
SIDE_WORKERS = {"default": 4, "mail": 2, "proof": 1}  # threads of each worker without a model; its queue has its name
_CELERY = ("celery", "-A", "config")


def web(address: str, *, processes: str) -> list[str]:
    """The web server at `address`, host:port."""
    command = ["gunicorn", "config.asgi:application", "-k", "core.serving.web_server.WebWorker"]
    command += ["--workers", processes, "--bind", address]
    command += ["--config", "python:monitoring.prometheus.web_server_hooks"]
    return [*command, "--graceful-timeout", "20", "--timeout", "60", "--no-control-socket"]


def gpu_worker(queues: str, *, threads: str) -> list[str]:
    """A worker with models: `queues` are generate.<model key>, with commas between."""
    return _worker(GPU_NODE, queues, threads)


def side_worker(name: str) -> list[str]:
    """A worker without a model, by its name in SIDE_WORKERS."""
    return _worker(name, name, str(SIDE_WORKERS[name]))


def beat(schedule: Path) -> list[str]:
    """What starts the periodic tasks; it notes in the file `schedule` when each was last due."""
    return [*_CELERY, "beat", "--schedule", str(schedule), "--pidfile=", "--loglevel=INFO"]


def flower(host: str, port: int, *, configuration: Path) -> list[str]:
    """The monitor of the workers. `configuration` is flowerconfig.py."""
    command = [*_CELERY, "flower", f"--address={host}", f"--port={port}", "--persistent=False"]
    return [*command, f"--conf={configuration}"]


def _worker(node: str, queues: str, threads: str) -> list[str]:
    command = [*_CELERY, "worker", "-n", f"{node}@%h", f"--concurrency={threads}", "-Q", queues]
    return [*command, "--pool=threads", "--without-gossip", "--without-mingle", "--loglevel=INFO"]
