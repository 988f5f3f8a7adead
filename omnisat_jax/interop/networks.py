"""The networks that foreign weights are for: their description as JSON, and the parameters that they need."""

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.files.json_file import Value
from omnisat_jax.models.baselines import UTAESegmenter
from omnisat_jax.models.published_encoder import PublishedEncoder, PublishedImageEncoder, PublishedSeriesEncoder
from omnisat_jax.models.shapes import Shapes, array, flat_shapes, shapes_of
from omnisat_jax.words import number_of

# Names in network.json, which stay as they are when a class or an attribute is renamed.
NETWORKS = {
    "UTAESegmenter": UTAESegmenter,
    "PublishedOmniSat": PublishedEncoder,
    "PublishedSeriesEncoder": PublishedSeriesEncoder,
    "PublishedImageEncoder": PublishedImageEncoder,
}
CONFIGS = {
    "UTAE": schema.UTAEConfig,
    "LTAE": schema.LTAEConfig,
    "PatchLTAE": schema.PatchLTAEConfig,
    "PatchCNN": schema.PatchCNNConfig,
}
CLASS_NAMES = {kind: name for name, kind in (NETWORKS | CONFIGS).items()}
ATTRIBUTES = {"config": "settings"}
HIDDEN = ("parent", "name", "dtype")  # attributes of modules that describe no network
LARGEST = 2**16  # width, number or side
MOST_TOKENS = 2**13  # of all modalities: the combiner compares each with each
CHOICES = {"border": ("reflect", "zeros"), "norm": ("image", "pixel", "affine")}


def describe(value: Any) -> Any:
    """Returns a module as plain JSON: its class and attributes, nested."""
    if type(value) in CLASS_NAMES:
        fields = (f.name for f in dataclasses.fields(value) if f.name not in HIDDEN)
        return {"class": CLASS_NAMES[type(value)]} | {ATTRIBUTES.get(name, name): describe(getattr(value, name)) for name in fields}
    if isinstance(value, tuple | list):
        return [describe(item) for item in value]
    return dict(value) if hasattr(value, "items") else value


def build(value: Value) -> nn.Module:
    """Returns the module that `describe` made `value` from.

    Raises:
      DataError: another class, attribute, type or size than one of these networks has.
    """
    network = NETWORKS[value.get("class").choice(tuple(NETWORKS))]
    return _object(network, value)


def _object(kind, value):
    wanted = {name: ATTRIBUTES.get(name, name) for field in dataclasses.fields(kind) if (name := field.name) not in HIDDEN}
    found = value.items()
    if set(found) != {"class", *wanted.values()}:
        raise value.error(f"a {CLASS_NAMES[kind]} with {', '.join(sorted(wanted.values()))}", ", ".join(found))
    found["class"].choice([CLASS_NAMES[kind]])
    hints = typing.get_type_hints(kind, include_extras=False)
    return kind(**{name: _attribute(hints[name], name, found[stored]) for name, stored in wanted.items()})


def _attribute(kind, name, value: Value):
    if name == "encoders":
        pairs = [pair.list(2) for pair in _few(value)]
        names = value.unique([pair[0].text() for pair in pairs])
        return tuple((of, build(pair[1])) for of, pair in zip(names, pairs))
    if name == "fusion":
        numbers = {key: value.get(key).integer(1, LARGEST) for key in ("depth", "heads", "patches")}
        flags = {key: value.get(key).boolean() for key in ("shared", "published")}
        if len(value.items()) != len(numbers | flags):
            raise value.error(", ".join(numbers | flags), ", ".join(value.items()))
        return numbers | flags
    if dataclasses.is_dataclass(kind):
        return _object(kind, value)
    if kind is bool:
        return value.boolean()
    if kind is str:
        return value.choice(CHOICES[name])
    if kind is float:
        return value.number(0, 1e9)
    if kind is int:
        return value.integer(0 if name == "blocks" else 1, LARGEST)
    return tuple(width.integer(1, LARGEST) for width in _few(value))


def _few(value: Value) -> list[Value]:
    if isinstance(value.value, list) and len(value.value) > 32:
        raise value.error("at most 32 entries")
    return value.list()


def shapes_in(variables: Mapping[str, Any]) -> Shapes:
    """Returns {name joined by "/": shape} of the parameters in variables."""
    return flat_shapes(variables["params"])


def network_shapes(module: nn.Module, found: Mapping[str, tuple[int, ...]]) -> Shapes:
    """Returns the shapes of the parameters of a network. The number of bands, which it does not name, is taken from `found`.

    Raises:
      UserError: there is no such network, or `found` does not show how many bands it reads.
    """
    if isinstance(module, PublishedEncoder):
        patches, count = module.fusion["patches"], len(module.encoders)
        side = math.isqrt(patches)
        if side**2 != patches or 1 + count * patches > MOST_TOKENS or not count:
            raise UserError(f"expected a square grid of patches and at most {MOST_TOKENS} tokens, found {number_of(count, 'modality')} of {patches}")
        inputs = {name: _example(encoder, found, side, f"encoder_{name}/") for name, encoder in module.encoders}
        return shapes_of(module.init, inputs)
    if isinstance(module, UTAESegmenter):
        module = module.copy(config=dataclasses.replace(module.config, border="zeros"))  # reflection needs larger tiles
    return shapes_of(module.init, *_example(module, found, 1, ""))


def _example(module, found, grid, prefix):
    """Inputs of one tile of grid x grid patches."""
    if isinstance(module, UTAESegmenter):
        side = 2 ** len(module.config.encoder_widths)
        bands = _axis(found, f"{prefix}network/stream/frames/in0/conv/kernel", 2)
        return array(1, 1, side, side, bands), array(1, 1, dtype=int), array(1, 1, dtype=bool)
    side = grid * module.patch
    if isinstance(module, PublishedSeriesEncoder):
        bands = _axis(found, f"{prefix}encoder/in0/kernel", 0) // module.patch**2
        return array(1, 1, side, side, max(bands, 1)), array(1, 1, dtype=int)
    return (array(1, side, side, _axis(found, f"{prefix}encoder/stem/conv/kernel", 2)),)


def _axis(found, name, axis):
    if len(found.get(name, ())) <= axis or not 0 < found[name][axis] <= LARGEST**2:
        raise UserError(f"expected a parameter {name} that shows how many bands are read, found {found.get(name, 'none')}")
    return found[name][axis]
