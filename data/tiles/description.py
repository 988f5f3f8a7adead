"""dataset.json of a folder of tiles; every key is checked when it is read."""

import dataclasses
import difflib
import pathlib
import re
from collections.abc import Mapping, Sequence

from data.tiles.layout import DESCRIPTION, DTYPES, KINDS, RESERVED_PARTS
from omnisat_jax.errors import DataError, UserError
from omnisat_jax.files.json_file import Value, read_json
from omnisat_jax.files.paths import check_names
from omnisat_jax.modalities import check_sensor_name
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

WHERE = "A folder of tiles is cut from your own rasters by `python -m data.tiles.cut` (docs/your_data.md)"
REQUIRED = ("name", "citation", "classes", "ignore", "modalities", "parts")
OPTIONAL = ("background", "colours", "simulated")
OF_LABELS = ("classes", "ignore", "background", "colours")
VOID = 255  # label of unknown pixels, where a description names no classes
SENSOR_KEYS = ("kind", "bands", "dtype", "scale", "offset")
CLASSES = (2, 254)  # fewest and most classes: labels are uint8, and one value is ignored
COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")


@dataclasses.dataclass(frozen=True)
class Sensor:
    """How a modality is stored.

    Attributes:
      kind: one of KINDS.
      bands: their names.
      dtype: one of DTYPES.
      scale, offset: of each band; a physical value is stored * scale + offset.
    """

    kind: str
    bands: tuple[str, ...]
    dtype: str
    scale: tuple[float, ...]
    offset: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Description:
    """The content of dataset.json.

    Attributes:
      name, citation: of the dataset.
      classes: names, in order; () of tiles that never had labels.
      ignore: label of unknown pixels.
      background: class that is no label of a tile, or -1.
      colours: "#rrggbb" for each class; () = a default palette.
      simulated: whether nothing was measured.
      sensors: name -> how it is stored.
      parts: name -> tile names.
    """

    name: str
    citation: str
    classes: tuple[str, ...]
    ignore: int
    background: int
    colours: tuple[str, ...]
    simulated: bool
    sensors: Mapping[str, Sensor]
    parts: Mapping[str, tuple[str, ...]]

    @property
    def tiles(self) -> tuple[str, ...]:
        """Names of all tiles, part by part."""
        return tuple(tile for tiles in self.parts.values() for tile in tiles)


def check_ignore(ignore: int, classes: int, *, path: StrPath) -> int:
    """Returns the label of unknown pixels, checked.

    Raises:
      DataError: it is one of the classes, or not a uint8.
    """
    if not classes <= ignore <= 255:
        raise DataError(
            tile="-", path=path, found=f"{ignore}",
            expected=f"ignore, the label of unknown pixels, beyond the {number_of(classes, 'class')}: {classes} to 255",
            advice="If unknown pixels of your labels have the number of a class, declare it as their nodata value; it is then stored as ignore.",
        )  # fmt: skip
    return ignore


def read_description(root: pathlib.Path) -> Description:
    """Reads <root>/dataset.json.

    Raises:
      DataError: it is missing or unreadable, lacks a key, or has an unknown key or an invalid value.
    """
    content = read_json(root / DESCRIPTION, what="the description of the tiles", root=root, advice=f"{WHERE}.")
    named = any(key in content.items() for key in OF_LABELS)  # tiles that never had labels have none of these keys
    _need_keys(content, REQUIRED if named else [key for key in REQUIRED if key not in OF_LABELS], OPTIONAL)
    path = content.path
    classes = check_names(_texts(content.get("classes")), what="class", path=path) if named else ()
    if named and not CLASSES[0] <= len(classes) <= CLASSES[1]:
        raise content.get("classes").error(f"{CLASSES[0]} to {CLASSES[1]} classes")
    return Description(
        name=content.get("name").text(),
        citation=content.get("citation").text(),
        classes=classes,
        ignore=check_ignore(content.get("ignore").integer(0, 255) if named else VOID, len(classes), path=path),
        background=content.find("background", -1).integer(-1, len(classes) - 1),
        colours=_colours(content, len(classes)),
        simulated=content.find("simulated", False).boolean(),
        sensors=_sensors(content.get("modalities")),
        parts=_parts(content.get("parts")),
    )


def _need_keys(value: Value, required: Sequence[str], optional: Sequence[str]) -> None:
    """Refuses missing and unknown keys."""
    found = value.items()
    missing = [key for key in required if key not in found]
    if missing:
        raise value.error(f"the keys {', '.join(required)}", f"no {', '.join(missing)}")
    for key in found:
        if key not in (*required, *optional):
            near = difflib.get_close_matches(key, (*required, *optional), 1)
            advice = f"Did you mean {near[0]}?" if near else "Remove it."
            raise value.error(f"only the keys {', '.join((*required, *optional))}", f"{key!r}", advice)


def _texts(value: Value) -> list[str]:
    return [entry.text() for entry in value.list()]


def _colours(content: Value, classes: int) -> tuple[str, ...]:
    colours = content.find("colours")
    if colours.value is None:
        return ()
    for entry in colours.list():
        if not isinstance(entry.value, str) or not COLOUR.fullmatch(entry.value):
            raise entry.error("a color as #rrggbb")
    if len(colours.value) != classes:
        raise colours.error(f"one color for each of the {number_of(classes, 'class')}", f"{len(colours.value)}")
    return tuple(colours.value)


def _sensors(modalities: Value) -> dict[str, Sensor]:
    entries, sensors = modalities.items(), {}
    if not entries:
        raise modalities.error("at least one modality")
    for name, entry in entries.items():
        try:
            check_sensor_name(name)
        except UserError as error:
            raise modalities.error("names of sensors", str(error)) from None
        if name.lower() in {other.lower() for other in sensors}:
            raise modalities.error("distinct names, ignoring case", f"{name!r} twice")
        _need_keys(entry, SENSOR_KEYS[:3], SENSOR_KEYS[3:])
        bands = check_names(_texts(entry.get("bands")), what="band", path=entry.get("bands").path)
        if not bands:
            raise entry.get("bands").error("the names of the bands")
        sensors[name] = Sensor(
            entry.get("kind").choice(KINDS),
            bands,
            entry.get("dtype").choice(DTYPES),
            _numbers(entry.find("scale", [1.0] * len(bands)), len(bands), nonzero=True),
            _numbers(entry.find("offset", [0.0] * len(bands)), len(bands)),
        )
    return sensors


def _numbers(value: Value, count: int, nonzero: bool = False) -> tuple[float, ...]:
    numbers = tuple(entry.number() for entry in value.list(count))
    if nonzero and 0.0 in numbers:
        raise value.error("scales other than 0", f"{list(numbers)}")
    return numbers


def _parts(value: Value) -> dict[str, tuple[str, ...]]:
    parts, where = {}, {}
    for name, entry in value.items().items():
        Value(name, value.path, f"{value.key}, the name of a part").name()
        if name.lower() in RESERVED_PARTS or name.lower() in {other.lower() for other in parts}:
            raise value.error("a distinct name for each part, ignoring case", f"{name!r}, which is taken or reserved")
        tiles = [tile.name("a tile", number=True) for tile in entry.list()]
        if not tiles:
            raise entry.error("at least one tile")
        for tile in tiles:
            if tile in where:
                raise entry.error("each tile in one part", f"{tile!r} in {where[tile]} as well" if where[tile] != name else f"{tile!r} twice")
            where[tile] = name
        parts[name] = tuple(tiles)
    if not parts:
        raise value.error("at least one part")
    return parts
