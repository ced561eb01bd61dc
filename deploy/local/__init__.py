"""The embedded default: what `startup.py` does. Development and tests only, never production.

Standard library only, because it runs before anything is installed; POSIX only (Linux, macOS).

stack.py        `run`: the processes of Tally, brought up, looked after and taken down
control.py      `run --detach`, `status` and `stop`: a run seen from elsewhere
checks.py       `test` and `check`
environment.py  the virtual environment, installed from requirements/locked/; lock.py writes that
embedded/       PostgresServer and RedisServer, where their programs come from, and who logs in to Redis
supervisor.py   starts services, restarts the dead, stops everything; readiness.py says when one is ready
processes.py    is it alive, is it ours, stop all of it; free ports
runtime.py      the local directory, its lock, runtime.json, logs, the secret key
steps.py        one setup command; console.py is what the terminal shows of it
interrupts.py   Ctrl-C, SIGTERM and SIGHUP as a flag; errors.py is what a person can mend
"""
