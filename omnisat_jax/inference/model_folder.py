"""A trained model as plain files that any language reads: model.safetensors, config.json and statistics.json; beside them README.md, its card.

config.json holds the XXH3 checksums of the other two files and of itself, so that files of different models cannot be mixed unnoticed.
Reading a model needs jax, flax, numpy, safetensors and xxhash, and no other package.
"""

import dataclasses
import logging
import pathlib
from collections.abc import Mapping, Sequence

import flax.traverse_util
import jax.numpy as jnp
import numpy as np
import xxhash

from omnisat_jax import __version__
from omnisat_jax.config import schema
from omnisat_jax.errors import printable
from omnisat_jax.files.addresses import need_local
from omnisat_jax.files.hashing import file_hash
from omnisat_jax.files.json_file import Value, read_json
from omnisat_jax.files.problems import Problems
from omnisat_jax.files.safetensors_file import open_safetensors
from omnisat_jax.inference.model_description import (
    CONFIG,
    FORMAT,
    LARGEST,
    MOST_BANDS,
    STATISTICS,
    TINIEST,
    Description,
    compare_checksum,
    own_checksum,
    read_description,
    short,
    weights_name,
)
from omnisat_jax.inference.model_info import ModelError, ModelInfo, SensorInfo, TrainedModel
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.models import shapes
from omnisat_jax.models.registry import make_model
from omnisat_jax.types import StrPath

__all__ = ["CARD", "CONFIG", "FORMAT", "STATISTICS", "WEIGHTS", "ModelError", "ModelInfo", "SensorInfo", "TrainedModel", "load_model"]
WEIGHTS, EARLIER_WEIGHTS, CARD = weights_name(FORMAT), weights_name(2), "README.md"
LARGEST_TEXT = 2**24  # bytes of config.json and statistics.json
STORED = ("F32", "F16", "BF16")
log = logging.getLogger(__name__)


def load_model(folder: StrPath) -> TrainedModel:
    """Reads a folder that `save_model` of this version or an earlier one wrote, and checks everything in it.

    Raises:
      ModelError: listing everything that is wrong: files that are missing, damaged or of another form, values out of range, statistics
        of other bands, parameters that are missing, unknown, of another shape or type or not finite, and files that do not belong
        together; or a folder that a later version wrote.
    """
    need_local(folder, "the folder of a model")
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise ModelError(printable(f"{folder}: expected a folder of a trained model, found {found}", None))
    _need_no_run(folder)
    problems = folder_problems(folder)
    content, description, statistics, weights, module = None, Description(), {}, None, None
    with problems.gathered(CONFIG):
        content = read_json(folder / CONFIG, what="the description of a model", largest=LARGEST_TEXT)
    if content:
        _check_format(content)
        with problems.gathered(CONFIG):
            description = read_description(content, problems)
    with problems.gathered(STATISTICS):
        found = read_json(folder / STATISTICS, what="the statistics of a model", largest=LARGEST_TEXT)
        statistics = check_statistics(found, description.specs, problems)
        if description.checksums:
            compare_checksum(STATISTICS, file_hash(folder / STATISTICS), description.checksums, problems)
    name = _weights_in(folder, description)
    with problems.gathered(name):
        weights = open_safetensors(folder / name, what="the weights of a model")
        for key, entry in weights.entries.items():
            if entry.dtype not in STORED:
                problems.add(name, f"{key}: expected one of {', '.join(STORED)}, found {entry.dtype}")
    info = description.info(statistics)
    if info:
        with problems.gathered(CONFIG):
            module = make_model(info.specs, _portable(info.config), len(info.classes), info.label_patch, jnp.float32)
            expected = shapes.model_shapes(module)
            if weights:
                stored = {key: entry.shape for key, entry in weights.entries.items()}
                shapes.compare(shapes.with_grid_of(expected, stored), stored, problems, name)
    problems.finish()
    assert content and info and module and weights and description.format  # what is not there is a problem
    arrays, checksum = {}, ""
    with problems.gathered(name):
        arrays, checksum = weights.read()
    check_values(arrays, problems, name)
    if description.checksums:
        compare_checksum(name, checksum, description.checksums, problems)
    else:
        log.debug("%s: of the first format, which has no checksums; its files are not compared with any", folder)
    problems.finish()
    params = flax.traverse_util.unflatten_dict({key: value.astype(np.float32) for key, value in arrays.items()}, sep="/")
    identity = xxhash.xxh3_128_hexdigest(" ".join((own_checksum(content.value), file_hash(folder / STATISTICS), checksum)).encode())
    return TrainedModel(module, params, info, identity, description.format)


def _need_no_run(folder: pathlib.Path) -> None:
    """Refuses the folder of a run, which holds the folder of its model, or one per fold.

    Raises:
      ModelError: naming the folder to use.
    """
    if any((folder / name).exists() for name in (WEIGHTS, EARLIER_WEIGHTS)):  # a run has a config.json and a statistics.json of its own
        return
    inside = [path for path in (folder / "model", *sorted(folder.glob("fold_*/model"))) if (path / STATISTICS).exists()]
    if inside:
        others = f" (or that of another of {len(inside)} folds)" if inside[1:] else ""
        raise ModelError(printable(f"{folder}: expected the folder of a trained model, found that of a run; use {inside[0]}{others}", None))


def _weights_in(folder: pathlib.Path, description: Description) -> str:
    """The name of the weights, also where config.json does not say which format the folder has."""
    if description.format is not None:
        return weights_name(description.format)
    return EARLIER_WEIGHTS if (folder / EARLIER_WEIGHTS).exists() and not (folder / WEIGHTS).exists() else WEIGHTS


def _check_format(content: Value) -> None:
    """Refuses a folder of a later version before anything else in it is read.

    Raises:
      ModelError: naming the version that reads it.
    """
    found = content.value if isinstance(content.value, dict) else {}
    number, version = found.get("format"), found.get("version")
    if type(number) is int and number > FORMAT and isinstance(version, str):
        text = (
            f"{content.path}: expected a model folder of format {FORMAT} or earlier, found format {printable(str(number), 20)}; "
            f"install omnisat-jax {printable(version, 40)} or later, which wrote it (this is {__version__})"
        )
        raise ModelError(printable(text, None).replace("\n", " "))


def _portable(config: schema.ExperimentConfig) -> schema.ExperimentConfig:
    """The configuration with the attention that every device can compute. It changes no parameter."""
    fusion = dataclasses.replace(config.model.fusion, attention="xla")
    return dataclasses.replace(config, model=dataclasses.replace(config.model, fusion=fusion))


def folder_problems(folder: StrPath) -> Problems:
    """Collects what is wrong with a model folder."""
    advice = "Copy the folder again, or write it again with the command that made it."
    return Problems(folder, ModelError, noun="thing", verbs=("is wrong with this model", "are wrong with this model"), advice=advice)


def check_statistics(value: Value, specs: Sequence[ModalitySpec] | None, problems: Problems) -> dict[str, dict[str, list[float]]]:
    """Checks statistics and returns them as floats.

    Args:
      value: the content of statistics.json.
      specs: the modalities of the model, or None where they are not known.
      problems: what is wrong is added here.

    Returns:
      {modality: {"mean": [C], "std": [C]}}.

    Raises:
      DataError: no object, or of other modalities.
    """
    found, out = value.items(), {}
    if specs is not None and set(found) != {spec.name for spec in specs}:
        raise value.error(f"the modalities {', '.join(spec.name for spec in specs)}", ", ".join(found) or "none")
    channels = {spec.name: spec.channels for spec in specs or ()}
    for name, entry in found.items():
        with problems.gathered(STATISTICS):
            if set(entry.items()) != {"mean", "std"}:
                raise entry.error("mean and std", ", ".join(entry.items()) or "nothing")
            mean, std = (short(entry.get(key), MOST_BANDS) for key in ("mean", "std"))
            if len({len(mean), len(std), channels.get(name, len(mean))}) > 1:
                raise entry.error(f"mean and std of {channels.get(name, 'as many')} bands", f"{len(mean)} and {len(std)}")
            out[name] = {"mean": [x.number(-LARGEST, LARGEST) for x in mean], "std": [x.number(TINIEST, LARGEST) for x in std]}
    return out


def check_values(arrays: Mapping[str, np.ndarray], problems: Problems, name: str = WEIGHTS) -> None:
    """Adds a problem for every array that holds something other than finite floating-point numbers; name: of their file."""
    for key, array in arrays.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            problems.add(name, f"{key}: expected floating-point numbers, found {array.dtype}")
            continue
        wrong = array.size - int(np.isfinite(array.astype(np.float32)).sum())
        if wrong:
            problems.add(name, f"{key}: expected finite numbers, found {wrong:,} of {array.size:,} that are not")
