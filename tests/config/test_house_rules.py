"""Rules of the house that no linter knows: how large folders, modules and functions may be, and who imports tests."""

import ast
from collections import Counter
from pathlib import Path

from django.conf import settings

MOST_MODULES, MOST_LINES, MOST_LINES_OF_A_FUNCTION = 15, 400, 50
FOLDERS = [
    "core",
    "accounts",
    "billing",
    "inference",
    "chat",
    "monitoring",
    "backoffice",
    "config",
    "deploy",
    "benchmarks",
    "tests",
]
FILES = sorted(file for folder in FOLDERS for file in (Path(settings.BASE_DIR) / folder).rglob("*.py"))
OURS = [file for file in FILES if "migrations" not in file.parts]


def name(file):
    return str(file.relative_to(settings.BASE_DIR))


def test_there_is_something_to_look_at():
    assert len(OURS) > 600


def test_no_folder_has_too_many_modules():
    counts = Counter(name(file.parent) for file in OURS)
    assert {folder: count for folder, count in counts.items() if count > MOST_MODULES} == {}


def test_no_module_is_too_long():
    lengths = {name(file): len(file.read_text().splitlines()) for file in OURS}
    assert {file: lines for file, lines in lengths.items() if lines > MOST_LINES} == {}


def test_no_function_is_too_long():
    long = {}
    for file in OURS:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MOST_LINES_OF_A_FUNCTION:
                    long[f"{name(file)}: {node.name}"] = lines
    assert long == {}


def test_no_test_imports_another_test():
    imports = {
        f"{name(file)}: {node.module}"
        for file in OURS
        if "tests" in file.parts
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").rpartition(".")[2].startswith("test_")
    }
    assert imports == set()
