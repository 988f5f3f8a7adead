"""The format `jax`: one file with a program for CPU, CUDA and TPU, its parameters and its description.

The file is a zip archive, which any language opens:
  program.jaxexport    the program, serialized by `jax.export`; called with the parameters and the inputs as dicts
  model.safetensors    the parameters
  export.json          names, shapes and meaning of inputs and output, classes, versions

`docs/run_exported.py` runs it without this package. Needs flatbuffers, besides the base dependencies.
"""

import importlib.util
import io
import json
import zipfile

import jax
from safetensors.numpy import save

from omnisat_jax.errors import UserError, reason
from omnisat_jax.export.program import Program, open_inputs

PROGRAM, WEIGHTS, DESCRIPTION = "program.jaxexport", "model.safetensors", "export.json"
PLATFORMS = ("cpu", "cuda", "tpu")
_MONTHS = 6  # that StableHLO, the language of the program, stays readable
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of the files in the archive, so that the same model gives the same bytes


def jax_file(program: Program) -> bytes:
    """The content of the file.

    Raises:
      UserError: flatbuffers is not installed, or a layer of the model cannot be exported.
    """
    if importlib.util.find_spec("flatbuffers") is None:
        raise UserError("--format jax needs flatbuffers: pip install 'omnisat-jax[export]'")
    params = program.params
    contents = {PROGRAM: _serialised(program), WEIGHTS: save(params), DESCRIPTION: _description(program)}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return file.getvalue()


def _serialised(program: Program) -> bytes:
    params = {name: jax.ShapeDtypeStruct(value.shape, value.dtype) for name, value in program.params.items()}
    try:
        exported = jax.export.export(jax.jit(program), platforms=PLATFORMS)(params, open_inputs(program))
    except Exception as error:  # of any layer, such as one of your own that compares the number of tiles
        raise UserError(f"--format jax: a layer of this model does not take any number of tiles and dates ({reason(error)})") from error
    return bytes(exported.serialize())


def _description(program: Program) -> bytes:
    rule = f"jax {jax.__version__} and versions that were released up to {_MONTHS} months after it; later ones may refuse it: export again"
    description = program.describe() | {
        "platforms": list(PLATFORMS),
        "compatible_until": {"written_with": f"jax {jax.__version__}", "months": _MONTHS, "rule": rule},
    }
    return (json.dumps(description, indent=1) + "\n").encode()
