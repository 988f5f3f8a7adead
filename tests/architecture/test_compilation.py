"""Every program is compiled with the options of its platform."""

import ast

from omnisat_jax.parallel.compilation import as_flags, options_for, unoptimised
from tests.architecture.test_imports import PACKAGE

# Files whose `jax.jit` is lowered and then compiled with options, or that compile nothing: a copy between devices, and an export.
LOWERED = {"step.py", "trainer.py", "evaluator.py", "scoring.py", "jax_file.py"}


def calls(path):
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]


def test_programs_are_compiled_with_the_options_of_their_platform():
    without = []
    for path, call in [(file, each) for file in PACKAGE for each in calls(file)]:
        compiles = (call.func.attr == "compile" and not call.args) or (call.func.attr == "jit" and path.name not in LOWERED)
        if compiles and "compiler_options" not in {keyword.arg for keyword in call.keywords}:
            without.append(f"{path}, line {call.lineno}")
    assert not without


def test_options():
    assert options_for("gpu") == options_for("cuda") == {"xla_gpu_enable_triton_gemm": False}
    assert options_for("cpu") == options_for("tpu") == {}
    assert "--xla_backend_optimization_level=0" in as_flags(unoptimised())
