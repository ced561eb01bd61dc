"""`.env.example` names every setting that the environment can give, says what it is, and shows the default."""

import ast
import re

from django.conf import settings

from deploy import configuration

SETTINGS = settings.BASE_DIR / "config" / "settings"
LINE = re.compile(r"(?P<comment>#?)(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)")


def read_by_env(*names):
    """The variables that these settings modules read with `env.`, and the default of each, None without one."""
    found = {}
    for name in names:
        for node in ast.walk(ast.parse((SETTINGS / f"{name}.py").read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="env")), args=[ast.Constant(value=str(variable))]):
                    default = next((word.value for word in node.keywords if word.arg == "default"), None)
                    found.setdefault(variable, None if default is None else ast.literal_eval(default))
                case ast.Call(
                    func=ast.Attribute(attr="required" | "demand_said"), args=[ast.Constant(value=str(variable)), *_]
                ):
                    found[variable] = None
    return found


def read_by_containers():
    """The variables that compose.yaml and the entrypoint of the images read, each with its default as written there."""
    compose = (settings.BASE_DIR / "compose.yaml").read_text()
    entrypoint = (settings.BASE_DIR / "deploy" / "container" / "entrypoint.py").read_text()
    found = re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", compose)
    return dict(found + re.findall(r'environ\.get\("([A-Z_]+)"\) or "([^"]*)"', entrypoint))


def example():
    """The variables of the example: whether they are commented out, their value, and the line before each."""
    lines = (settings.BASE_DIR / ".env.example").read_text().splitlines()
    matches = [(LINE.fullmatch(line), before) for before, line in zip(["", *lines], lines, strict=False)]
    return {match["name"]: (match["comment"], match["value"], before) for match, before in matches if match}


def test_every_setting_that_is_read_is_in_the_example_and_nothing_else():
    modules = [path.stem for path in SETTINGS.glob("*.py")]
    assert "base" in modules
    read = read_by_env(*modules)
    assert len(read) > 30
    assert set(read) | set(read_by_containers()) == set(example())


def test_every_line_is_explained_before_it():
    assert [name for name, (_, _, before) in example().items() if not before.startswith("# ") or len(before) < 8] == []


def test_the_example_shows_the_defaults_and_leaves_open_what_must_be_set():
    read, must = read_by_env("base", "alerts", "api", "inference"), set(read_by_env("production"))
    containers = read_by_containers()
    assert containers["TALLY_TRIAL_PORT"] == "8000"
    for name, (comment, value, _) in example().items():
        if name in containers:
            assert value == containers[name] or comment == "", name
        elif name in must or read[name] is None:
            assert comment == "", f"{name} must be set"
        else:
            shown = ",".join(read[name]) if isinstance(read[name], list) else str(read[name])
            assert (comment, value) == ("#", shown), name


def test_the_document_is_the_one_that_the_example_makes():
    assert configuration.DOCUMENT.read_text() == configuration.describe(), "run `python3 -m deploy.configuration`"
