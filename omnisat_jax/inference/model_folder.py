"""A trained model as plain files that any language reads: weights.safetensors, config.json and statistics.json.

config.json holds the XXH3 checksums of the other two files and of itself, so that files of different models cannot be mixed unnoticed.
Reading a model needs jax, flax, numpy, safetensors and xxhash, and no other package.
"""

import contextlib
import dataclasses
import json
import logging
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax.numpy as jnp
import numpy as np
import xxhash
from safetensors.numpy import save

from omnisat_jax import __version__
from omnisat_jax.config import schema
from omnisat_jax.errors import UserError, printable, system_sentence
from omnisat_jax.files import atomic
from omnisat_jax.files.hashing import file_hash
from omnisat_jax.files.json_file import Value, read_json
from omnisat_jax.files.problems import Problems
from omnisat_jax.files.safetensors_file import open_safetensors
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.models import shapes
from omnisat_jax.models.base import MultimodalModel
from omnisat_jax.models.registry import make_model
from omnisat_jax.types import Params, Statistics, StrPath

CONFIG, WEIGHTS, STATISTICS = "config.json", "weights.safetensors", "statistics.json"
FORMAT = 2  # of the folder; the first one had neither a format nor checksums
LARGEST_TEXT = 2**24  # bytes of config.json and statistics.json
LARGEST_WIDTH = 2**16  # of any layer
MOST_CLASSES, MOST_BANDS, MOST_KEYS = 1000, 4096, 10_000
STORED = ("F32", "F16", "BF16")
_FIRST_KEYS = {"modalities", "classes", "label_patch", "config"}
_KEYS = _FIRST_KEYS | {"format", "version", "checksums"}
log = logging.getLogger(__name__)


class ModelError(UserError):
    """A folder that holds no usable model. The message lists everything that is wrong with it."""


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What a model folder says about its weights.

    Attributes:
      config: the configuration of the run.
      modalities: names of the modalities that the model was built for, in its order.
      classes: names of the classes, in the order of the logits.
      label_patch: label pixels per token side; 0 for tile labels.
      statistics: {modality: {"mean": [C], "std": [C]}} of the training tiles; see `batch.normalise`.
    """

    config: schema.ExperimentConfig
    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    label_patch: int
    statistics: Statistics

    @property
    def specs(self) -> tuple[ModalitySpec, ...]:
        """The modalities of the model, in its order."""
        specs = {spec.name: spec for spec in self.config.modalities}
        return tuple(specs[name] for name in self.modalities)


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A model that was read from a folder.

    Attributes:
      module: ready to apply to {"params": params}, in float32 on any device.
      params: nested names -> float32 arrays.
      statistics: {modality: {"mean": [C], "std": [C]}} of the training tiles; see `batch.normalise`.
      classes: names of the classes, in the order of the logits.
      config: the configuration of the run.
    """

    module: MultimodalModel
    params: Params
    statistics: Statistics
    classes: tuple[str, ...]
    config: schema.ExperimentConfig


def save_model(folder: StrPath, params: Params, info: ModelInfo) -> None:
    """Writes a model, in place of one that is there already. The folder is complete once config.json is there.

    Args:
      folder: made if it does not exist.
      params: nested names -> host arrays.
      info: everything else that the model needs.

    Raises:
      ModelError: weights or statistics that no model can use, such as NaN.
      UserError: the folder cannot be written.
    """
    folder = pathlib.Path(folder)
    problems = _problems(folder)
    flat = {name: np.asarray(value) for name, value in flax.traverse_util.flatten_dict(params, sep="/").items()}
    _check_values(flat, problems)
    _check_statistics(Value(info.statistics, folder / STATISTICS), info.specs, problems)
    problems.finish()
    flat = {name: np.asarray(value, np.float32, order="C") for name, value in flat.items()}
    contents = {WEIGHTS: save(flat), STATISTICS: json.dumps(info.statistics, indent=2).encode()}
    description: dict[str, Any] = {
        "format": FORMAT,
        "version": __version__,
        "modalities": list(info.modalities),
        "classes": list(info.classes),
        "label_patch": info.label_patch,
        "config": schema.flatten(info.config),
    }
    checksums = {name: xxhash.xxh3_128_hexdigest(content) for name, content in contents.items()}
    description["checksums"] = checksums | {CONFIG: _own_checksum(description)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).unlink(missing_ok=True)  # until it is written again there is no model
        atomic.clear_partials(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({system_sentence(error)})") from error
    for name, data in contents.items():
        atomic.write_bytes(folder / name, data)
    atomic.write_json(folder / CONFIG, description)


def load_model(folder: StrPath) -> TrainedModel:
    """Reads a folder that `save_model` of this version or an earlier one wrote, and checks everything in it.

    Raises:
      ModelError: listing everything that is wrong: files that are missing, damaged or of another form, values out of range, statistics
        of other bands, parameters that are missing, unknown, of another shape or type or not finite, and files that do not belong
        together; or a folder that a later version wrote.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise ModelError(printable(f"{folder}: expected a folder of a trained model, found {found}", None))
    problems = _problems(folder)
    content, description, statistics, weights, module = None, _Description(), {}, None, None
    with problems.gathered(CONFIG):
        content = read_json(folder / CONFIG, what="the description of a model", largest=LARGEST_TEXT)
    if content:
        _check_format(content)
        with problems.gathered(CONFIG):
            description = _describe(content, problems)
    with problems.gathered(STATISTICS):
        found = read_json(folder / STATISTICS, what="the statistics of a model", largest=LARGEST_TEXT)
        statistics = _check_statistics(found, description.specs, problems)
        if description.checksums:
            _compare_checksum(STATISTICS, file_hash(folder / STATISTICS), description.checksums, problems)
    with problems.gathered(WEIGHTS):
        weights = open_safetensors(folder / WEIGHTS, what="the weights of a model")
        for name, entry in weights.entries.items():
            if entry.dtype not in STORED:
                problems.add(WEIGHTS, f"{name}: expected one of {', '.join(STORED)}, found {entry.dtype}")
    info = description.info(statistics)
    if info:
        with problems.gathered(CONFIG):
            module = make_model(info.specs, _portable(info.config), len(info.classes), info.label_patch, jnp.float32)
            expected = shapes.model_shapes(module)
            if weights:
                stored = {name: entry.shape for name, entry in weights.entries.items()}
                shapes.compare(shapes.with_grid_of(expected, stored), stored, problems, WEIGHTS)
    problems.finish()
    assert info and module and weights  # what is not there is a problem
    arrays, checksum = {}, ""
    with problems.gathered(WEIGHTS):
        arrays, checksum = weights.read()
    _check_values(arrays, problems)
    if description.checksums:
        _compare_checksum(WEIGHTS, checksum, description.checksums, problems)
    else:
        log.debug("%s: of the first format, which has no checksums; its files are not compared with any", folder)
    problems.finish()
    params = flax.traverse_util.unflatten_dict({name: value.astype(np.float32) for name, value in arrays.items()}, sep="/")
    return TrainedModel(module, params, info.statistics, info.classes, info.config)


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


def _problems(folder):
    advice = "Copy the folder again, or write it again with the command that made it."
    return Problems(folder, ModelError, what="things are wrong with this model", advice=advice)


@dataclasses.dataclass
class _Description:
    """The content of config.json, as far as it is valid."""

    config: schema.ExperimentConfig | None = None
    specs: tuple[ModalitySpec, ...] | None = None
    classes: tuple[str, ...] | None = None
    label_patch: int | None = None
    checksums: dict[str, str] = dataclasses.field(default_factory=dict)

    def info(self, statistics) -> ModelInfo | None:
        """The description of a model, if it is complete."""
        if self.config is None or self.specs is None or self.classes is None or self.label_patch is None:
            return None
        return ModelInfo(self.config, tuple(spec.name for spec in self.specs), self.classes, self.label_patch, statistics)


def _describe(value: Value, problems) -> _Description:
    out, entries = _Description(), value.items()
    wanted = _FIRST_KEYS if "format" not in entries and "checksums" not in entries else _KEYS
    if set(entries) != wanted:
        raise value.error(f"the keys {', '.join(sorted(wanted))}", ", ".join(entries) or "none")
    if wanted == _KEYS:
        with problems.gathered(CONFIG):
            entries["format"].integer(FORMAT, FORMAT)
            entries["version"].text()
            checksums = {name: entry.text("a checksum") for name, entry in entries["checksums"].items().items()}
            if set(checksums) != {CONFIG, WEIGHTS, STATISTICS}:
                raise entries["checksums"].error(f"those of {CONFIG}, {WEIGHTS} and {STATISTICS}")
            out.checksums = checksums
            _compare_checksum(CONFIG, _own_checksum(value.value), checksums, problems)
    with problems.gathered(CONFIG):
        names = entries["modalities"].unique([entry.name() for entry in _short(entries["modalities"], 64)])
        out.config = _configuration(entries["config"])
        specs = {spec.name: spec for spec in out.config.modalities}
        unknown = [name for name in names if name not in specs]
        if unknown or not any(specs[name].kind != "location" for name in names):
            raise entries["modalities"].error(f"sensors among {', '.join(specs)}", ", ".join(names) or "none")
        out.specs = tuple(specs[name] for name in names)
    with problems.gathered(CONFIG):
        classes = [entry.text("a name of a class") for entry in _short(entries["classes"], MOST_CLASSES)]
        broken = [name for name in classes if not name.isprintable()]
        if not classes or broken:
            raise entries["classes"].error("printable names of classes", repr(broken[0]) if broken else "none")
        out.classes = tuple(entries["classes"].unique(classes))
    with problems.gathered(CONFIG):
        dense = out.config is None or out.config.task == "segment"
        out.label_patch = entries["label_patch"].integer(1 if dense and out.config else 0, 4096 if dense else 0)
    return out


def _short(value: Value, most: int) -> list[Value]:
    if isinstance(value.value, dict | list) and len(value.value) > most:
        raise value.error(f"at most {most} entries")
    return value.list()


def _configuration(value: Value) -> schema.ExperimentConfig:
    """The configuration. Its values are plain, and its widths small enough for a model to be built in memory."""
    flat = {}
    if isinstance(value.value, dict) and len(value.value) > MOST_KEYS:
        raise value.error(f"at most {MOST_KEYS} keys")
    for key, entry in value.items().items():
        parts = _short(entry, 64) if isinstance(entry.value, list) else [entry]
        for part in parts:
            if isinstance(part.value, dict | list) or part.value is None:
                raise part.error("a number, a text, true or false, or a list of these")
            if type(part.value) is int and key.startswith(("model.", "modalities.")):
                part.integer(-LARGEST_WIDTH, LARGEST_WIDTH)
        flat[key] = entry.value
    return schema.unflatten(flat)


def _check_statistics(value: Value, specs, problems) -> dict[str, dict[str, list[float]]]:
    """{modality: {"mean", "std"}} as floats; specs: the modalities of the model, or None where they are not known."""
    found, out = value.items(), {}
    if specs is not None and set(found) != {spec.name for spec in specs}:
        raise value.error(f"the modalities {', '.join(spec.name for spec in specs)}", ", ".join(found) or "none")
    channels = {spec.name: spec.channels for spec in specs or ()}
    for name, entry in found.items():
        with problems.gathered(STATISTICS):
            if set(entry.items()) != {"mean", "std"}:
                raise entry.error("mean and std", ", ".join(entry.items()) or "nothing")
            mean, std = (_short(entry.get(key), MOST_BANDS) for key in ("mean", "std"))
            if len({len(mean), len(std), channels.get(name, len(mean))}) > 1:
                raise entry.error(f"mean and std of {channels.get(name, 'as many')} bands", f"{len(mean)} and {len(std)}")
            # Devices compute in float32, where a smaller deviation is 0.
            out[name] = {"mean": [x.number(-1e30, 1e30) for x in mean], "std": [x.number(2.0**-126, 1e30) for x in std]}
    return out


def _check_values(arrays: Mapping[str, np.ndarray], problems):
    for name, array in arrays.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            problems.add(WEIGHTS, f"{name}: expected floating-point numbers, found {array.dtype}")
            continue
        wrong = array.size - int(np.isfinite(array.astype(np.float32)).sum())
        if wrong:
            problems.add(WEIGHTS, f"{name}: expected finite numbers, found {wrong:,} of {array.size:,} that are not")


def _own_checksum(content) -> str:
    """The checksum of config.json: of everything in it but the checksums, whatever the order of its keys and its white space."""
    plain = {key: entry for key, entry in content.items() if key != "checksums"}
    with contextlib.suppress(RecursionError):
        return xxhash.xxh3_128_hexdigest(json.dumps(plain, sort_keys=True).encode())
    return "none, as lists or objects are nested too deeply"


def _compare_checksum(name, found, checksums, problems):
    if checksums[name] != found:
        problems.add(name, f"expected the file that the model was saved with (XXH3 {checksums[name]}), found another ({found})")
