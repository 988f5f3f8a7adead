"""config.json of a model folder: how a description is written, and how one of unknown origin is read and checked.

Format 1 had neither a format nor checksums; format 2 had no key that follows "checksums" in `describe`.
"""

import contextlib
import dataclasses
import datetime
import json
import re
from collections.abc import Mapping
from typing import Any

import xxhash

from omnisat_jax import __version__
from omnisat_jax.config import schema
from omnisat_jax.dates import EPOCH
from omnisat_jax.errors import DataError
from omnisat_jax.files.json_file import Value
from omnisat_jax.files.problems import Problems
from omnisat_jax.inference.model_info import Legend, ModelInfo, Provenance, SensorInfo, SubsetScores
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.types import Statistics
from omnisat_jax.words import number_of

CONFIG, STATISTICS = "config.json", "statistics.json"
FORMAT = 3  # of the folder
LARGEST_WIDTH = 2**16  # of any layer
MOST_CLASSES, MOST_BANDS, MOST_KEYS, MOST_SUBSETS, MOST_DATES = 1000, 4096, 10_000, 2**12, 100_000
TINIEST, LARGEST = 2.0**-126, 1e30  # devices compute in float32, where a smaller number is 0
COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")
FIRST_KEYS = frozenset({"modalities", "classes", "label_patch", "config"})
SIGNED_KEYS = FIRST_KEYS | {"format", "version", "checksums"}
KEYS = SIGNED_KEYS | {"sensors", "window", "temperature", "legend", "provenance"}


def weights_name(number: int) -> str:
    """The file of the weights in a folder of a format; hubs expect the name that the third one has."""
    return "weights.safetensors" if number < 3 else "model.safetensors"


def describe(info: ModelInfo) -> dict[str, Any]:
    """The content of config.json, without checksums.

    Args:
      info: of the model. Days become ISO dates, tuples lists.
    """
    return {
        "format": FORMAT,
        "version": __version__,
        "modalities": list(info.modalities),
        "classes": list(info.classes),
        "label_patch": info.label_patch,
        "sensors": {name: _describe_sensor(info.sensors.get(name, SensorInfo())) for name in info.modalities},
        "window": info.window,
        "temperature": info.temperature,
        "legend": dataclasses.asdict(info.legend),
        "provenance": dataclasses.asdict(info.provenance),
        "config": schema.flatten(info.config),
    }


def _describe_sensor(sensor: SensorInfo) -> dict[str, Any]:
    days = {
        key: None if day is None else (EPOCH + datetime.timedelta(day)).isoformat()
        for key, day in (("first_day", sensor.first_day), ("last_day", sensor.last_day))
    }
    return dataclasses.asdict(sensor) | days


def own_checksum(content: Mapping[str, Any]) -> str:
    """The checksum of config.json: of everything in it but the checksums, whatever the order of its keys and its white space."""
    plain = {key: entry for key, entry in content.items() if key != "checksums"}
    with contextlib.suppress(RecursionError):
        return xxhash.xxh3_128_hexdigest(json.dumps(plain, sort_keys=True).encode())
    return "none, as lists or objects are nested too deeply"


def compare_checksum(name: str, found: str, checksums: Mapping[str, str], problems: Problems) -> None:
    """Adds a problem if a file is not the one that the model was saved with."""
    if checksums[name] != found:
        problems.add(name, f"expected the file that the model was saved with (XXH3 {checksums[name]}), found another ({found})")


@dataclasses.dataclass
class Description:
    """The content of config.json, as far as it is valid.

    Attributes:
      format: 1, 2 or 3; None where it is not known.
      config, specs, classes, label_patch: see `ModelInfo`; None where they are wrong.
      checksums: {file: XXH3}; empty in the first format.
      more: further arguments of `ModelInfo`.
    """

    format: int | None = None
    config: schema.ExperimentConfig | None = None
    specs: tuple[ModalitySpec, ...] | None = None
    classes: tuple[str, ...] | None = None
    label_patch: int | None = None
    checksums: dict[str, str] = dataclasses.field(default_factory=dict)
    more: dict[str, Any] = dataclasses.field(default_factory=dict)

    def info(self, statistics: Statistics) -> ModelInfo | None:
        """The description of a model, if it is complete."""
        if self.config is None or self.specs is None or self.classes is None or self.label_patch is None:
            return None
        names = tuple(spec.name for spec in self.specs)
        return ModelInfo(self.config, names, self.classes, self.label_patch, statistics, **self.more)


def read_description(value: Value, problems: Problems) -> Description:
    """Reads the content of config.json of any format; what is wrong becomes a problem.

    Raises:
      DataError: no object with the keys of one of the formats.
    """
    out, entries = Description(), value.items()
    found = entries["format"].value if "format" in entries else None
    wanted = FIRST_KEYS if "format" not in entries and "checksums" not in entries else SIGNED_KEYS if found == 2 else KEYS
    if set(entries) != wanted:
        raise value.error(f"the keys {', '.join(sorted(wanted))}", ", ".join(entries) or "none")
    with problems.gathered(CONFIG):
        out.format = 1 if wanted == FIRST_KEYS else entries["format"].integer(2, FORMAT)
    if wanted != FIRST_KEYS and out.format:
        with problems.gathered(CONFIG):
            entries["version"].text()
            out.checksums = _checksums(entries["checksums"], weights_name(out.format))
            compare_checksum(CONFIG, own_checksum(value.value), out.checksums, problems)
    with problems.gathered(CONFIG):
        names = entries["modalities"].unique([entry.name() for entry in short(entries["modalities"], 64)])
        out.config = _configuration(entries["config"])
        specs = {spec.name: spec for spec in out.config.modalities}
        unknown = [name for name in names if name not in specs]
        if unknown or not any(specs[name].kind != "location" for name in names):
            raise entries["modalities"].error(f"sensors among {', '.join(specs)}", ", ".join(names) or "none")
        out.specs = tuple(specs[name] for name in names)
    with problems.gathered(CONFIG):
        classes = [entry.text("a name of a class") for entry in short(entries["classes"], MOST_CLASSES)]
        broken = [name for name in classes if not name.isprintable()]
        if not classes or broken:
            raise entries["classes"].error("printable names of classes", repr(broken[0]) if broken else "none")
        out.classes = tuple(entries["classes"].unique(classes))
    with problems.gathered(CONFIG):
        dense = out.config is None or out.config.task == "segment"
        out.label_patch = entries["label_patch"].integer(1 if dense and out.config else 0, 4096 if dense else 0)
    if wanted == KEYS:
        _read_more(out, entries, problems)
    elif out.specs:
        # What an earlier version did not write is not known, but for the dates, which the configuration limits.
        out.more["sensors"] = {spec.name: SensorInfo(dates=spec.dates_eval) for spec in out.specs}
    return out


def _checksums(value: Value, weights: str) -> dict[str, str]:
    checksums = {name: entry.text("a checksum") for name, entry in value.items().items()}
    if set(checksums) != {CONFIG, weights, STATISTICS}:
        raise value.error(f"those of {CONFIG}, {weights} and {STATISTICS}")
    return checksums


def short(value: Value, most: int) -> list[Value]:
    """The entries of a list that has at most `most` of them.

    Raises:
      DataError: no list, or a longer one.
    """
    if isinstance(value.value, dict | list) and len(value.value) > most:
        raise value.error(f"at most {most} entries")
    return value.list()


def _configuration(value: Value) -> schema.ExperimentConfig:
    """The configuration. Its values are plain, and its widths small enough for a model to be built in memory."""
    flat = {}
    if isinstance(value.value, dict) and len(value.value) > MOST_KEYS:
        raise value.error(f"at most {MOST_KEYS} keys")
    for key, entry in value.items().items():
        parts = short(entry, 64) if isinstance(entry.value, list) else [entry]
        for part in parts:
            if isinstance(part.value, dict | list) or part.value is None:
                raise part.error("a number, a text, true or false, or a list of these")
            if type(part.value) is int and key.startswith(("model.", "modalities.")):
                part.integer(-LARGEST_WIDTH, LARGEST_WIDTH)
        flat[key] = entry.value
    return schema.unflatten(flat)


def _read_more(out: Description, entries: dict[str, Value], problems: Problems) -> None:
    """What the third format has and those before it have not."""
    more = out.more
    with problems.gathered(CONFIG):
        more["window"] = None if entries["window"].value is None else entries["window"].integer(1, LARGEST_WIDTH)
    with problems.gathered(CONFIG):
        more["temperature"] = read_temperature(entries["temperature"])
    if out.specs is not None:
        with problems.gathered(CONFIG):
            sensors = _fields(entries["sensors"], [spec.name for spec in out.specs])
            more["sensors"] = {spec.name: _sensor(sensors[spec.name], spec) for spec in out.specs}
        with problems.gathered(CONFIG):
            more["provenance"] = _provenance(entries["provenance"], [spec.name for spec in out.specs])
    if out.classes is not None:
        with problems.gathered(CONFIG):
            more["legend"] = _legend(entries["legend"], out.classes)


def read_temperature(value: Value) -> float:
    """A temperature: a finite number above 0.

    Raises:
      DataError: anything else.
    """
    try:
        return value.number(TINIEST, LARGEST)
    except DataError:
        raise value.error("a finite number above 0") from None


def _fields(value: Value, names: list[str] | type) -> dict[str, Value]:
    """The entries of an object that has exactly these keys, or those of a dataclass."""
    wanted = names if isinstance(names, list) else [field.name for field in dataclasses.fields(names)]
    found = value.items()
    if set(found) != set(wanted):
        raise value.error(f"the keys {', '.join(wanted)}", ", ".join(list(found)[:20]) or "none")
    return found


def _sensor(value: Value, spec: ModalitySpec) -> SensorInfo:
    fields = _fields(value, SensorInfo)
    bands = tuple(entry.text() for entry in short(fields["bands"], MOST_BANDS))
    if len(bands) not in (0, spec.channels):
        raise fields["bands"].error(f"names of {number_of(spec.channels, 'band')}, or none")
    scale, offset = (_numbers(fields[key], spec.channels) for key in ("scale", "offset"))
    if scale and 0 in scale:
        raise fields["scale"].error("numbers other than 0")
    first, last = (_day(fields[key]) for key in ("first_day", "last_day"))
    if (first is None) != (last is None) or (first is not None and last is not None and first > last):
        raise fields["last_day"].error("a day from first_day on")
    return SensorInfo(bands, scale, offset, first, last, fields["dates"].integer(0, MOST_DATES))


def _numbers(value: Value, count: int) -> tuple[float, ...] | None:
    return None if value.value is None else tuple(number.number() for number in value.list(count))


def _day(value: Value) -> int | None:
    """Days since 1970-01-01 of an ISO date."""
    if value.value is None:
        return None
    with contextlib.suppress(ValueError):
        if isinstance(value.value, str) and len(value.value) == 10:
            return (datetime.date.fromisoformat(value.value) - EPOCH).days
    raise value.error("a date YYYY-MM-DD")


def _legend(value: Value, classes: tuple[str, ...]) -> Legend:
    fields = _fields(value, Legend)
    colours = [entry.text() for entry in short(fields["colours"], MOST_CLASSES)]
    if len(colours) not in (0, len(classes)) or not all(COLOUR.fullmatch(colour) for colour in colours):
        raise fields["colours"].error(f"a color #rrggbb for each of the {number_of(len(classes), 'class')}, or none")
    unscored = tuple(entry.choice(classes) for entry in short(fields["unscored"], MOST_CLASSES))
    fields["unscored"].unique(unscored)
    return Legend(tuple(colours), unscored, fields["background"].integer(-1, len(classes) - 1))


def _provenance(value: Value, modalities: list[str]) -> Provenance:
    fields = _fields(value, Provenance)
    texts = {key: "" if fields[key].value == "" else fields[key].text() for key in ("dataset", "fingerprint", "citation", "protocol")}
    train, validation, test = (tuple(_line(part) for part in short(fields[key], MOST_KEYS)) for key in ("train", "validation", "test"))
    metrics = {_line(Value(key, value.path, f"{value.key}.metrics")): _line(name) for key, name in fields["metrics"].items().items()}
    scores = tuple(_subset(entry, metrics, modalities) for entry in short(fields["scores"], MOST_SUBSETS))
    simulated = None if fields["simulated"].value is None else fields["simulated"].boolean()
    return Provenance(**texts, simulated=simulated, train=train, validation=validation, test=test, metrics=metrics, scores=scores)


def _subset(value: Value, metrics: dict[str, str], modalities: list[str]) -> SubsetScores:
    fields = _fields(value, SubsetScores)
    names = tuple(entry.choice(modalities) for entry in short(fields["modalities"], 64))
    if not names:
        raise fields["modalities"].error("at least one modality", "none")
    scores = _fields(fields["scores"], list(metrics))
    numbers = {key: None if scores[key].value is None else scores[key].number(-LARGEST, LARGEST) for key in metrics}
    return SubsetScores(tuple(fields["modalities"].unique(names)), fields["tiles"].integer(0, 2**48), numbers)


def _line(value: Value) -> str:
    """A printable text of one line."""
    text = value.text()
    if not text.isprintable():
        raise value.error("a text of one line")
    return text
