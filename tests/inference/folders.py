"""A small model, the content of its folder, and ways to change that content."""

import functools
import json

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save
from xxhash import xxh3_128_hexdigest

from omnisat_jax.config import schema
from omnisat_jax.inference.model_description import FIRST_KEYS, SIGNED_KEYS, own_checksum
from omnisat_jax.inference.model_folder import CONFIG, EARLIER_WEIGHTS, STATISTICS, WEIGHTS, ModelInfo, SensorInfo
from omnisat_jax.inference.model_info import Legend, Provenance, SubsetScores
from omnisat_jax.models import shapes
from omnisat_jax.models.registry import make_model
from tests.conftest import tiny

CHANNELS = 10
BANDS = tuple(f"B{index}" for index in range(CHANNELS))
KERNEL = "fusion/query"


@functools.cache
def made():
    """(parameters, information) of a model of one series."""
    config = schema.parse(tiny())
    specs = [spec for spec in config.modalities if spec.name == "s2"]
    model = make_model(specs, config, 2, 4, jnp.float32)
    rng = np.random.default_rng(0)
    flat = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.model_shapes(model).items()}
    statistics = {"s2": {"mean": [0.5] * CHANNELS, "std": [2.0] * CHANNELS}}
    info = ModelInfo(
        config,
        ("s2",),
        ("a", "b"),
        4,
        statistics,
        sensors={"s2": SensorInfo(BANDS, (1e-4,) * CHANNELS, (0.0,) * CHANNELS, 17776, 18214, 6)},
        window=4,
        temperature=1.5,
        legend=Legend(("#ff0000", "#00FF00"), ("a",), 0),
        provenance=Provenance(
            "PASTIS-HD", "0123456789abcdef", "Garnot, 2021\nCC BY 4.0", True, "fixed", ("fold_1",), (), ("fold_5",), {"miou": "mIoU"},
            (SubsetScores(("s2",), 2, {"miou": None}), SubsetScores(("s2",), 2, {"miou": 12.5})),
        ),
    )  # fmt: skip
    return flax.traverse_util.unflatten_dict(flat, sep="/"), info


def put(folder, contents):
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def signed(contents, about=None):
    """The contents with matching checksums in config.json, so that only their meaning is wrong."""
    about = json.loads(contents[CONFIG]) if about is None else about
    if isinstance(about, dict) and "checksums" in about:
        files = {name: xxh3_128_hexdigest(content) for name, content in contents.items() if name != CONFIG}
        about = about | {"checksums": files | {CONFIG: own_checksum(about)}}
    return contents | {CONFIG: json.dumps(about).encode()}


def first_version(contents):
    """The contents in the first format, which had no checksums."""
    about = json.loads(contents[CONFIG])
    return {
        CONFIG: json.dumps({key: about[key] for key in FIRST_KEYS}).encode(),
        EARLIER_WEIGHTS: contents[WEIGHTS],
        STATISTICS: contents[STATISTICS],
    }


def second_version(contents):
    """The contents in the second format, which said nothing of sensors, classes and provenance."""
    about = json.loads(contents[CONFIG])
    kept = {key: about[key] for key in sorted(SIGNED_KEYS)} | {"format": 2}
    return signed({EARLIER_WEIGHTS: contents[WEIGHTS], STATISTICS: contents[STATISTICS], CONFIG: b""}, kept)


def with_weights(contents, change):
    """The contents with other weights, signed."""
    arrays = {name: value.copy() for name, value in made_flat().items()}
    change(arrays)
    return signed(contents | {WEIGHTS: save(arrays)})


def made_flat():
    return flax.traverse_util.flatten_dict(made()[0], sep="/")


def assert_original(model):
    params, info = made()
    jax.tree.map(np.testing.assert_array_equal, model.params, params)
    assert (model.config, model.statistics, model.classes) == (info.config, info.statistics, ("a", "b"))
    assert model.module.names == ("s2",) and model.module.num_classes == 2 and model.module.label_patch == 4


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def described_with(**changes):
    return lambda contents: signed(contents, json.loads(contents[CONFIG]) | changes)


def configured_with(**changes):
    def change(contents):
        about = json.loads(contents[CONFIG])
        return signed(contents, about | {"config": about["config"] | {k.replace("__", "."): v for k, v in changes.items()}})

    return change


def with_part(part, **changes):
    return lambda contents: described_with(**{part: json.loads(contents[CONFIG])[part] | changes})(contents)


def with_sensor(**changes):
    def change(contents):
        sensor = json.loads(contents[CONFIG])["sensors"]["s2"]
        return described_with(sensors={"s2": sensor | changes})(contents)

    return change


def with_statistics(**changes):
    def change(contents):
        found = json.loads(contents[STATISTICS])
        found["s2"] |= changes
        return signed(contents | {STATISTICS: json.dumps(found).encode()})

    return change


def changing_weights(change):
    return lambda contents: with_weights(contents, change)


def text_of(name, content):
    return lambda contents: contents | {name: content}


def deep(depth):
    return b"[" * depth + b"]" * depth


def set_kernel(value):
    def change(arrays):
        arrays[KERNEL] = value(arrays[KERNEL])

    return change


def put_nan(value):
    value = value.copy()
    value.flat[0] = np.nan
    return value
