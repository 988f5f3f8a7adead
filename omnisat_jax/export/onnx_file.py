"""The format `onnx`: one file with the program, its parameters and, in its metadata, its description.

Needs jax2onnx, which asks for another version of orbax-checkpoint than training and therefore lives in an environment of its own.

jax2onnx replaces functions of `jax.numpy` and Flax by its own while it traces. Some of these get open sizes wrong: the length of a concatenation
along one, for example. The program is therefore traced first, and jax2onnx only sees primitives.
"""

import contextlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun

from omnisat_jax.errors import UserError, reason
from omnisat_jax.export.program import BATCH, Program, open_inputs
from omnisat_jax.ops.plain import plain
from omnisat_jax.parallel.compilation import options_for

METADATA = "omnisat_jax"  # key of the description
LARGEST = 2**31 - 2**24  # bytes of parameters; protobuf ends at 2 GiB
TOLERANCE = 1e-4  # of probabilities; rounding alone stays below 1e-5
_INSTALL = "python -m venv onnx && onnx/bin/pip install omnisat-jax jax2onnx==0.17.1"


def onnx_file(program: Program) -> bytes:
    """The content of the file, compared with the program on random numbers in onnxruntime.

    Raises:
      UserError: jax2onnx is not installed, the model is too large for the format, a layer cannot be converted, or the converted program
        computes something else.
    """
    if importlib.util.find_spec("jax2onnx") is None:
        raise UserError(f"--format onnx needs jax2onnx, in an environment of its own without the extra train: {_INSTALL}")
    size = sum(value.nbytes for value in program.params.values())
    if size > LARGEST:
        raise UserError(f"--format onnx: expected parameters of at most {LARGEST:,} bytes, the limit of the format, found {size:,}")
    with _quiet():
        content = _converted(program)
    difference = _difference(program, content)
    if not difference <= TOLERANCE:
        raise UserError(
            f"--format onnx: expected the probabilities of the model within {TOLERANCE:g}, found a difference of {difference:g}; "
            "use --format jax"
        )
    return content


def _converted(program: Program) -> bytes:
    import jax2onnx  # pyright: ignore[reportMissingImports]
    import onnx  # pyright: ignore[reportMissingImports]

    names, inputs, params = [entry.name for entry in program.inputs], list(open_inputs(program).values()), program.params
    try:
        with plain():
            traced = jax.make_jaxpr(lambda *given: program(params, dict(zip(names, given))))(*inputs)
        model = jax2onnx.to_onnx(
            lambda *given: jaxpr_as_fun(traced)(*given)[0],
            inputs,
            model_name=METADATA,
            input_names=names,
            output_names=["probabilities"],
        )
    except Exception as error:  # of any layer, and of primitives that ONNX or jax2onnx does not have
        raise UserError(f"--format onnx: a layer of this model cannot be converted ({reason(error)}); use --format jax") from error
    onnx.helper.set_model_props(model, {METADATA: json.dumps(program.describe())})
    return model.SerializeToString()


def _difference(program: Program, content: bytes) -> float:
    """The largest difference between the probabilities of the program and those of the file, on two random tiles."""
    import onnxruntime  # pyright: ignore[reportMissingImports]

    rng = np.random.default_rng(0)
    inputs = {}
    for entry in program.inputs:
        given = entry.abstract({size: 2 if size == BATCH else 3 for size in program.open_sizes})
        if given.dtype == np.float32:
            inputs[entry.name] = _values(program, entry.name, rng.normal(size=given.shape))
        elif given.dtype == np.int32:
            inputs[entry.name] = rng.integers(0, 365, given.shape, np.int32)
        else:
            inputs[entry.name] = rng.random(given.shape) < 0.8
    expected = jax.device_get(jax.jit(program, compiler_options=options_for(jax.default_backend()))(program.params, inputs))
    try:
        found = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, inputs)[0]
    except Exception as error:  # of onnxruntime, which has no common class of its errors
        raise UserError(f"--format onnx: onnxruntime cannot run the converted model ({reason(error)}); use --format jax") from error
    return float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf


def _values(program: Program, name: str, noise: np.ndarray) -> np.ndarray:
    """Measurements as likely as those of the training tiles, some of them unknown."""
    statistics = program.trained.statistics[name.rpartition(".")[0]]
    values = noise.astype(np.float32)
    if values.ndim > 2:  # a location has no statistics that apply to it
        values = values * np.asarray(statistics["std"], np.float32) + np.asarray(statistics["mean"], np.float32)
        values[..., ::7, ::3, :] = np.nan
    return values


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides what jax2onnx and its libraries say about their own work."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
