"""A trained model as one function of plain arrays, and the description of these arrays: what both export formats are made of.

Normalization, the masking of unknown values and the last softmax or sigmoid are inside. The number of tiles and the number of dates of each
series stay open; the size of a tile is fixed. A modality is left out by its input `<modality>.present`.

Letters: B tiles, T dates of a series, H W pixels, C bands, K classes.
"""

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

import flax
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from omnisat_jax import __version__
from omnisat_jax.batch import normalise
from omnisat_jax.errors import UserError, reason
from omnisat_jax.inference.model_folder import TrainedModel
from omnisat_jax.missing import FILL
from omnisat_jax.models.shapes import trained_grid
from omnisat_jax.words import number_of

FORMAT = 1  # of the description
BATCH = "batch"  # name of the open number of tiles
LARGEST_WINDOW = 4096  # tokens per tile side
Shape = tuple[int | str, ...]

_DAY_ZERO = {
    "season": "the last 1 September before the middle of the tile's dates",
    "year": "the 1 January of the year in which the middle of the tile's dates lies",
}
_MIDDLE = "the median of the dates of all its series, rounded down"
_MEANING = {
    "values": "numbers as the dataset stores them, not normalized; NaN where unknown",
    "dates": "days since day_zero",
    "valid": "which dates count; the others may hold anything",
    "present": "whether the tile has this modality; if not, its other inputs may hold anything",
}


@dataclasses.dataclass(frozen=True)
class ProgramInput:
    """One array that a program takes.

    Attributes:
      name: "<modality>.values", ".dates", ".valid" or ".present".
      shape: sizes; names stand for sizes that stay open.
      dtype: of its numbers.
    """

    name: str
    shape: Shape
    dtype: str

    def abstract(self, sizes: Mapping[str, Any]) -> jax.ShapeDtypeStruct:
        """The input with its open sizes replaced by those in `sizes`."""
        shape = tuple(sizes[size] if isinstance(size, str) else size for size in self.shape)
        return jax.ShapeDtypeStruct(shape, np.dtype(self.dtype))


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A trained model for tiles of one size.

    Attributes:
      trained: the model.
      window: tokens per tile side.
      inputs: the arrays that it takes.
      output: shape of the probabilities, (B,H,W,K) or (B,K), with B open.
    """

    trained: TrainedModel
    window: int
    inputs: tuple[ProgramInput, ...]
    output: Shape

    @property
    def params(self) -> dict[str, np.ndarray]:
        """Parameters, {names joined by "/": float32 array}."""
        flat: Any = flax.traverse_util.flatten_dict(self.trained.params, sep="/")
        return {name: np.asarray(value, np.float32) for name, value in flat.items()}

    @property
    def open_sizes(self) -> tuple[str, ...]:
        """Names of the sizes that stay open: of the batch, and of the dates of each series."""
        return tuple(dict.fromkeys(size for entry in self.inputs for size in entry.shape if isinstance(size, str)))

    def __call__(self, params: Mapping[str, Any], inputs: Mapping[str, Any]) -> jax.Array:
        """Probabilities of the classes, float32, of the shape `output`.

        Args:
          params: see `params`.
          inputs: {name: array}, one for each of `inputs`.
        """
        return _probabilities(self.trained, params, inputs)

    def describe(self) -> dict[str, Any]:
        """Everything that a user of the exported file has to know, as plain values."""
        trained, config = self.trained, self.trained.config
        out = {
            "format": FORMAT,
            "versions": {"omnisat_jax": __version__, "jax": jax.__version__, "flax": flax.__version__},
            "task": trained.module.task,
            "classes": list(trained.classes),
            "tokens_per_side": self.window,
            "modalities": [self._modality(spec) for spec in trained.module.specs],
            "inputs": [
                {"name": entry.name, "shape": list(entry.shape), "dtype": entry.dtype, "meaning": self._meaning(entry.name)}
                for entry in self.inputs
            ],
            "output": {
                "name": "probabilities",
                "shape": list(self.output),
                "dtype": "float32",
                "meaning": "sums to 1 over the classes" if trained.module.task == "segment" else "of each label on its own",
            },
            "unknown_values": f"NaN, infinities and magnitudes above {FILL:g}",
            "day_zero": _day_zero(config.data.origin),
        }
        if config.model.architecture == "published" and not config.model.published.mask_padding:
            out["padding"] = "this model sees dates that are not valid: pad each series with zeros to the number of dates of the evaluation"
        return out

    def _modality(self, spec) -> dict[str, Any]:
        out = {"name": spec.name, "kind": spec.kind, "bands": spec.channels}
        facts = self.trained.sensors.get(spec.name)
        if facts is not None and facts.bands:
            out["band_names"] = list(facts.bands)  # in the order of the last axis of the values
        if spec.kind != "location":
            out |= {"metres_per_pixel": spec.resolution, "pixels_per_side": self.window * spec.patch}
        if spec.kind == "series":
            out["dates_in_evaluation"] = f"at most {spec.dates_eval}, evenly spaced" if spec.dates_eval else "all"
        return out

    def _meaning(self, name: str) -> str:
        modality, _, key = name.rpartition(".")
        kinds = {spec.name: spec.kind for spec in self.trained.module.specs}
        return "longitude and latitude in degrees" if key == "values" and kinds[modality] == "location" else _MEANING[key]


def make_program(trained: TrainedModel, window: int | None = None) -> Program:
    """The program of a trained model.

    Args:
      trained: the model.
      window: tokens per tile side; None takes the one that the model was trained with.

    Raises:
      UserError: the window is not known, is not the only one that the model takes, or is too small for its layers.
    """
    window = _window(trained, window)
    inputs = []
    for spec in trained.module.specs:
        side = window * spec.patch
        shape: Shape = (2,) if spec.kind == "location" else (side, side, spec.channels)
        leading: Shape = (BATCH, f"{spec.name}_dates") if spec.kind == "series" else (BATCH,)
        inputs.append(ProgramInput(f"{spec.name}.values", (*leading, *shape), "float32"))
        if spec.kind == "series":
            inputs += [ProgramInput(f"{spec.name}.dates", leading, "int32"), ProgramInput(f"{spec.name}.valid", leading, "bool")]
        inputs.append(ProgramInput(f"{spec.name}.present", (BATCH,), "bool"))
    program = Program(trained, window, tuple(inputs), ())
    sizes = dict.fromkeys(program.open_sizes, 1)
    params = {name: jax.ShapeDtypeStruct(value.shape, value.dtype) for name, value in program.params.items()}
    try:
        out = jax.eval_shape(program, params, {entry.name: entry.abstract(sizes) for entry in inputs})
    except (TypeError, ValueError) as error:  # of layers that cannot halve or pad so few pixels
        raise UserError(f"--window {window}: expected tiles large enough for this model, found smaller ones ({reason(error)})") from error
    return dataclasses.replace(program, output=(BATCH, *out.shape[1:]))


def open_inputs(program: Program) -> dict[str, jax.ShapeDtypeStruct]:
    """The inputs of a program with symbols for the sizes that stay open, each at least 1."""
    names = program.open_sizes
    sizes = jax.export.symbolic_shape(", ".join(names), constraints=[f"{name} >= 1" for name in names])
    return {entry.name: entry.abstract(dict(zip(names, sizes))) for entry in program.inputs}


def flat_inputs(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The modalities of a batch (see `omnisat_jax.batch`) as inputs of a program."""
    return {f"{name}.{key}": value for name, entry in entries.items() for key, value in entry.items()}


def _window(trained: TrainedModel, wanted: int | None) -> int:
    """Tokens per tile side: those that were asked for, or those of the model."""
    only = trained_grid(trained.params)
    if only is not None and wanted not in (None, only):
        raise UserError(f"--window: expected {number_of(only, 'token')} per tile side, the only size that this model takes, found {wanted}")
    window = wanted or only or trained.window
    if window is None:
        ground = next(spec.ground for spec in trained.module.specs if spec.kind != "location")
        raise UserError(
            "--window: expected the number of tokens per tile side, as the model folder does not say what it was trained with; "
            f"a token is {ground:g} m wide, so it is the side of the training tiles in meters divided by {ground:g}"
        )
    if not 1 <= window <= LARGEST_WINDOW:
        raise UserError(f"--window: expected 1 to {LARGEST_WINDOW} tokens per tile side, found {window}")
    return window


def _probabilities(trained: TrainedModel, params, inputs) -> jax.Array:
    """What `Model.probabilities` computes of a batch."""
    entries: dict[str, dict[str, Any]] = {}
    for name, value in inputs.items():
        modality, _, key = name.rpartition(".")
        entries.setdefault(modality, {})[key] = value
    module = trained.module
    known = normalise(entries, trained.statistics, module.names)
    present = jnp.stack([known[name]["present"] for name in module.names], 1)
    variables = {"params": flax.traverse_util.unflatten_dict(dict(params), sep="/")}
    logits: Any = module.apply(variables, known, present, train=False)
    logits = logits / trained.temperature
    return jax.nn.softmax(logits, -1) if module.task == "segment" else jax.nn.sigmoid(logits)


def _day_zero(origin: str) -> dict[str, str]:
    """The rule that gives the day from which the dates of a tile are counted."""
    if origin in _DAY_ZERO:
        return {"origin": origin, "rule": f"{_DAY_ZERO[origin]}; the middle is {_MIDDLE}"}
    day = datetime.date.fromisoformat(origin).isoformat()
    return {"origin": day, "rule": f"{day}, for every tile"}
