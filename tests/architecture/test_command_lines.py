"""Every command parses its options with the one parser of the project, and ends as every other one does."""

import ast

import pytest

from tests.conftest import ROOT

PARSER = ROOT / "omnisat_jax" / "cli" / "arguments.py"
FOLDERS = ("benchmarks", "configs", "data", "docs", "omnisat_jax", "tests")
SOURCES = [ROOT / "launch.py", *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))]


def bare_parsers(tree):
    """Lines that make or derive from a parser of argparse; annotations may name it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "argparse" and any(name.name == "ArgumentParser" for name in node.names):
            yield node.lineno
        used = [node.func] if isinstance(node, ast.Call) else node.bases if isinstance(node, ast.ClassDef) else []
        for name in used:
            if isinstance(name, ast.Attribute) and isinstance(name.value, ast.Name) and (name.value.id, name.attr) == ("argparse", "ArgumentParser"):
                yield name.lineno


def bare_endings(tree):
    """Lines of `if __name__ == "__main__"` that call main without `run_command`, in a file that makes a parser."""
    if not any(isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Parser" for node in ast.walk(tree)):
        return
    for node in tree.body:
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            yield from (call.lineno for call in ast.walk(node) if isinstance(call, ast.Call) and ast.unparse(call.func) == "main")


@pytest.fixture(scope="module")
def trees():
    """{path: syntax tree} of all files."""
    return {path: ast.parse(path.read_text()) for path in SOURCES}


def test_no_parser_but_that_of_the_project_is_used(trees):
    found = [f"{path.relative_to(ROOT)}:{line}" for path, tree in trees.items() if path != PARSER for line in bare_parsers(tree)]
    assert not found, "use omnisat_jax.cli.arguments.Parser"
    assert [*bare_parsers(trees[PARSER])]


def test_commands_end_through_run_command(trees):
    assert not [f"{path.relative_to(ROOT)}:{line}" for path, tree in trees.items() for line in bare_endings(tree)]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("import argparse\nargparse.ArgumentParser()", [2]),
        ("from argparse import ArgumentParser", [1]),
        ("import argparse\nclass A(argparse.ArgumentParser): pass", [2]),
        ("import argparse\ndef f(parser: argparse.ArgumentParser): pass", []),
    ],
)
def test_a_bare_parser_is_found(text, lines):
    assert [*bare_parsers(ast.parse(text))] == lines


def test_a_bare_ending_is_found():
    assert [*bare_endings(ast.parse('Parser()\nif __name__ == "__main__":\n    sys.exit(main())'))] == [3]
