"""Run Tally on this machine, or test it, with one command and nothing installed but Python.

    python3 startup.py                 install, start everything, print the addresses, stop with Ctrl-C
    python3 startup.py run --detach    the same in the background
    python3 startup.py status          what runs
    python3 startup.py stop            stop it, from anywhere
    python3 startup.py test [...]      install, bring up test servers, run pytest with these arguments
    python3 startup.py check           linters, types, templates, imports, migrations
    python3 startup.py lock            write requirements/locked/ anew from the pins

The first start installs into .venv beside this file and converts the demo model, which takes minutes; a later
one takes seconds. Data, logs and runtime.json lie in .local beside this file.

Environment: DATABASE_URL (with DATABASE_OWNER_URL, who migrates) names a PostgreSQL of your own; BROKER_REDIS_URL,
RELAY_REDIS_URL and CACHE_REDIS_URL, or REDIS_URL for all three, a Redis; TALLY_LOCAL_DIR another place for .local;
TALLY_PREFER_WHEELS=1 prefers the embedded servers to the system's; WEB_WORKERS and GPU_WORKER_THREADS size the web
server and the GPU worker. All variables but the owner's are passed on to Tally.
"""

import argparse
import os
import sys
from pathlib import Path

SUPPORTED = ("3.11", "3.12", "3.13")


def main() -> int:
    """Returns the exit status. Nothing here is newer than an old Python that shall read the refusal."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if version not in SUPPORTED:
        print(f"Tally needs Python 3.11, 3.12 or 3.13; this is Python {version}.")
        print("Start it with one of those, for example: python3.11 startup.py")
        return 1
    if os.name != "posix":
        print("startup.py needs Linux or macOS. On Windows, use the Linux subsystem (WSL) or Docker.")
        return 1
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from deploy.local import console, interrupts
    from deploy.local.errors import StartupError

    console.tolerate_any_character()
    interrupts.install()
    try:
        return _dispatch(sys.argv[1:])
    except StartupError as error:
        console.say(str(error))
        return 1
    except interrupts.StopRequestedError:
        console.say("Interrupted")
        return 130


def _dispatch(words: "list[str]") -> int:
    from deploy.local import checks, control, lock, runtime, stack

    if words[:1] == ["test"]:
        return checks.test(words[1:])
    arguments = _parser().parse_args(words or ["run"])
    if arguments.command == "check":
        return checks.check()
    if arguments.command == "lock":
        return lock.write_locks()
    if arguments.command == "status":
        return control.status()
    if arguments.command == "stop":
        return control.stop()
    if arguments.detach:
        return control.Background(runtime.local_directory()).run()
    return stack.run(detached=arguments.in_background)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="startup.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    run = commands.add_parser("run", help="start everything and run until Ctrl-C (the default)")
    run.add_argument("--detach", action="store_true", help="return once all is healthy; `stop` stops it")
    run.add_argument("--in-background", action="store_true", help=argparse.SUPPRESS)
    commands.add_parser("test", help="run the test suite; every further argument goes to pytest")
    commands.add_parser("check", help="run every linter and check")
    commands.add_parser("lock", help="write the locks of all packages anew from the pins in requirements/")
    commands.add_parser("status", help="what runs; exit status 0 healthy, 1 not healthy, 3 not running")
    commands.add_parser("stop", help="stop a run, wherever it was started")
    return parser


if __name__ == "__main__":
    sys.exit(main())
