"""The rooms of data/: imports go one way, commands are thin, functions stay small."""

import ast

import pytest

from tests.conftest import ROOT

# Lower rooms know nothing of higher ones, and the datasets nothing of each other.
LAYERS = [
    {"reading"},
    {"simulation"},
    {"pastis", "treesat", "flair", "tiles"},
    {"preparation", "verification"},
    {"figures"},
    {"commands"},
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
COMMANDS = ("prepare.py", "verify.py", "show.py", "tiles/cut.py")
DATA = ROOT / "data"
FILES = sorted(path for path in DATA.rglob("*.py") if path != DATA / "__init__.py")
PARAMETERS, LINES = 6, 80


def name_of(path):
    return path.relative_to(DATA).as_posix()


def room_of(path):
    return "commands" if name_of(path) in COMMANDS else path.relative_to(DATA).parts[0]


def modules(path):
    """Names of the modules of data/ that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name for name in names if name.startswith("data."))


def forbidden(path):
    """What is wrong with the imports of a file."""
    room = room_of(path)
    for name in modules(path):
        other = name.split(".")[1]
        if f"{'/'.join(name.split('.')[1:])}.py" in COMMANDS:
            yield f"{path} imports the command {name}"
        elif LEVEL[other] > LEVEL[room] or (LEVEL[other] == LEVEL[room] and other != room and room not in ("preparation", "verification")):
            yield f"{path}: {room} must not import {other}"


def test_imports_go_one_way():
    found = [sentence for path in FILES for sentence in forbidden(path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_hold_the_command_line_only(name):
    defined = [node.name for node in ast.parse((DATA / name).read_text()).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert "main" in defined and all(other.startswith("_parse") for other in defined if other != "main")


def faults(path):
    """What is wrong with the functions and classes of a file."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        where, arguments = f"{path}: {node.name}", node.args
        named = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs) if a.arg != "self"]
        if len(named) > PARAMETERS:
            yield f"{where}: {len(named)} parameters"
        if node.end_lineno - node.lineno >= LINES:
            yield f"{where}: {node.end_lineno - node.lineno + 1} lines"
    for node in tree.body:  # public functions and classes
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node):
            yield f"{path}: {node.name} has no docstring"


def test_functions_are_small_and_documented():
    found = [sentence for path in FILES for sentence in faults(path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("room", sorted(LEVEL.keys() - {"commands"}))
def test_every_room_says_what_it_is_for(room):
    assert ast.get_docstring(ast.parse((DATA / room / "__init__.py").read_text()))
