"""Functions are short, take few arguments, and say what they take and return."""

import ast

import pytest

from tests.conftest import ROOT

MAX_PARAMETERS = 6  # without self and cls
MAX_LINES = 80
FOLDERS = ("omnisat_jax", "data", "configs", "benchmarks")
FILES = [ROOT / "launch.py", *sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))]
Function = (ast.FunctionDef, ast.AsyncFunctionDef)


def parameters(function, method):
    """The parameters of a function in their order, without self or cls."""
    every = function.args
    positional = [*every.posonlyargs, *every.args]
    static = any(isinstance(decorator, ast.Name) and decorator.id == "staticmethod" for decorator in function.decorator_list)
    others = [every.vararg, *every.kwonlyargs, every.kwarg]
    return [*positional[1 if method and not static else 0 :], *(parameter for parameter in others if parameter)]


def functions(tree, method=False):
    """(function, whether it is a method), at any depth."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            yield node, method
        yield from functions(node, isinstance(node, ast.ClassDef))


def public(tree, method=False):
    """(function, whether it is a method) of the functions of a module and the methods of its classes, without private names."""
    for node in tree.body:
        private = node.name.startswith("_") and not node.name.startswith("__") if hasattr(node, "name") else True
        if isinstance(node, Function) and not private:
            yield node, method
        elif isinstance(node, ast.ClassDef) and not private:
            yield from public(node, method=True)


def where(path, function):
    return f"{path.relative_to(ROOT)}:{function.lineno} {function.name}"


@pytest.fixture(scope="module")
def trees():
    """{path: syntax tree} of all files."""
    return {path: ast.parse(path.read_text()) for path in FILES}


def test_functions_are_short_and_take_few_arguments(trees):
    found = []
    for path, function, method in ((path, *each) for path, tree in trees.items() for each in functions(tree)):
        count, lines = len(parameters(function, method)), function.end_lineno - function.lineno + 1
        if count > MAX_PARAMETERS:
            found.append(f"{where(path, function)}: {count} parameters; group those that belong together into a dataclass")
        if lines > MAX_LINES:
            found.append(f"{where(path, function)}: {lines} lines")
    assert not found, "\n".join(found)


def test_public_signatures_are_annotated(trees):
    found = []
    for path, function, method in ((path, *each) for path, tree in trees.items() for each in public(tree)):
        missing = [parameter.arg for parameter in parameters(function, method) if parameter.annotation is None]
        if function.returns is None and function.name not in ("__init__", "setup"):  # setup is the __init__ of a Flax module
            missing.append("return")
        if missing:
            found.append(f"{where(path, function)}: no type for {', '.join(missing)}")
    assert not found, "\n".join(found)


def test_what_counts_as_a_parameter():
    source = "class A:\n  def f(self, a, /, b, *c, d, **e): pass\n  @staticmethod\n  def g(a, b): pass\n  def _h(self): pass\ndef i(a): pass"
    tree = ast.parse(source)
    assert [len(parameters(*found)) for found in functions(tree)] == [5, 2, 0, 1]
    assert [function.name for function, _ in public(tree)] == ["f", "g", "i"]
