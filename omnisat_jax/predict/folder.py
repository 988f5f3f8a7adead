"""The files of a map while it is made: run.json says what is made from what, and blocks/ holds one file per finished block.

A block file appears whole or not at all, so it is its own proof of being finished. Its arrays, for a block of H x W label pixels:

  class          (H,W) uint8: index of the most probable class, NO_DATA where no sensor has a known value
  confidence     (H,W) uint8: its probability in per cent, NO_DATA where unknown
  used           (H,W) uint32: bit i is set where the i-th sensor has a known value
  dates          (S,H,W) uint16: known dates of each series
  probabilities  (K,H,W) uint8, if asked for: probability * LEVELS, NO_DATA where unknown
  seam           (2,) float64: sum and number of the differences between overlapping windows

and, if asked for, those of its h x w tokens, which are the tokens whose north-western label pixel lies in the block:

  embeddings     (h,w,D) int8: an embedding is embeddings * scales; 0 where no sensor has a known value under the token
  scales         (h,w) float32: of each token; NaN where unknown
  token_used     (h,w) uint32: bit i is set where the i-th sensor has a known value under the token

Letters: H W label pixels, h w tokens, D width of an embedding, K classes, S series.
"""

import dataclasses
import io
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from omnisat_jax.errors import DataError, UserError, printable, reason, system_reason
from omnisat_jax.files import atomic
from omnisat_jax.files.json_file import read_json
from omnisat_jax.files.paths import need_file
from omnisat_jax.predict.grid import Block, MapGrid
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

NO_DATA = 255
LEVELS = 250  # a stored probability of 1
RUN, BLOCKS = "run.json", "blocks"
FORMAT = 1  # of run.json and the block files
NAMED = 5  # blocks that a message names
AGAIN = "Delete it, and run the command that made the map again: only this block is computed again."


@dataclasses.dataclass(frozen=True)
class MapSensor:
    """A sensor from which a map was made.

    Attributes:
      name: of the modality.
      kind: "series" or "image".
      bands: their names in model order.
      dates: ISO dates that are used; () for an image.
      files: paths of its files.
    """

    name: str
    kind: str
    bands: tuple[str, ...]
    dates: tuple[str, ...]
    files: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class MapInfo:
    """What a map is.

    Attributes:
      fingerprint: hash of the model, the inputs and all settings that the map depends on.
      grid: where it lies.
      classes: names of the classes.
      colours: "#rrggbb" of each class.
      sensors: in the order of the bits of `used`.
      probabilities: whether they are stored.
      model: {"source", "checksum", "version", "citation", "simulated", ...}: plain values about the model.
      settings: plain values of the options.
      remarks: what the user should know, in words.
      embedding_width: numbers per embedding; 0 = they are not stored.
    """

    fingerprint: str
    grid: MapGrid
    classes: tuple[str, ...]
    colours: tuple[str, ...]
    sensors: tuple[MapSensor, ...]
    probabilities: bool
    model: Mapping[str, Any]
    settings: Mapping[str, Any]
    remarks: tuple[str, ...] = ()
    embedding_width: int = 0

    @property
    def series(self) -> tuple[MapSensor, ...]:
        """The sensors with dates, in the order of the array `dates`."""
        return tuple(sensor for sensor in self.sensors if sensor.kind == "series")

    def used_names(self, bits: np.ndarray) -> list[str]:
        """Names of the sensors of bit masks, joined by commas."""
        distinct, which = np.unique(bits, return_inverse=True)
        names = [",".join(sensor.name for bit, sensor in enumerate(self.sensors) if int(value) >> bit & 1) for value in distinct]
        return [names[index] for index in which.ravel()]

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which `from_json` makes an equal description."""
        return dataclasses.asdict(self) | {"format": FORMAT, "grid": self.grid.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "MapInfo":
        """The inverse of `to_json`."""
        sensors = tuple(
            MapSensor(entry["name"], entry["kind"], *(tuple(entry[key]) for key in ("bands", "dates", "files"))) for entry in values["sensors"]
        )
        return cls(
            fingerprint=values["fingerprint"],
            grid=MapGrid.from_json(values["grid"]),
            classes=tuple(values["classes"]),
            colours=tuple(values["colours"]),
            sensors=sensors,
            probabilities=values["probabilities"],
            model=values["model"],
            settings=values["settings"],
            remarks=tuple(values["remarks"]),
            embedding_width=int(values.get("embedding_width", 0)),
        )


class MapFolder:
    """The folder of a map.

    Attributes:
      path: of the folder.
      info: what the map is.
    """

    def __init__(self, path: StrPath, info: MapInfo):
        self.path, self.info = pathlib.Path(path), info

    @classmethod
    def start(cls, path: StrPath, info: MapInfo) -> "MapFolder":
        """Makes a folder for a map, or goes on with an unfinished one of the same map.

        Raises:
          UserError: the folder holds another map or something else, or cannot be written.
        """
        folder = pathlib.Path(path)
        if (folder / RUN).exists():
            found = cls.open(folder)
            if found.info.fingerprint != info.fingerprint:
                raise UserError(
                    f"{folder}: expected the map of this model, these inputs and these settings, found another ({found.info.fingerprint[:12]}, "
                    f"not {info.fingerprint[:12]}); choose another --out, or delete the folder"
                )
            atomic.clear_partials(folder / BLOCKS)
            return found
        try:
            # Another process may be starting the same map.
            if folder.exists() and any(entry.name != BLOCKS and not atomic.is_partial(entry.name) for entry in folder.iterdir()):
                raise UserError(f"{folder}: expected a new or empty folder, or an unfinished map, found other files; choose another --out")
            (folder / BLOCKS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot be created ({system_reason(error)}); choose another --out") from error
        atomic.write_json(folder / RUN, info.to_json())
        return cls(folder, info)

    @classmethod
    def open(cls, path: StrPath) -> "MapFolder":
        """Opens the folder of a map, finished or not.

        Raises:
          UserError: no map, or not one of this version.
        """
        folder = pathlib.Path(path)
        if not (folder / RUN).exists():
            found = f"no {RUN} in it" if folder.is_dir() else "a file" if folder.exists() else "no such folder"
            raise UserError(f"{printable(str(folder), None)}: expected the folder of a map, found {found}; check --out")
        values = read_json(folder / RUN, what="the description of a map", advice="Make the map again, in another folder.")
        found = values.get("format").value
        if found != FORMAT:
            raise UserError(f"{folder / RUN}: expected a map of format {FORMAT}, found {found!r}; use the version that wrote it")
        try:
            return cls(folder, MapInfo.from_json(values.value))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(tile="-", path=folder / RUN, expected="the description of a map", found=reason(error)) from error

    def file(self, block: Block) -> pathlib.Path:
        """The file of a block."""
        return self.path / BLOCKS / f"{block.name}.npz"

    def missing(self) -> list[Block]:
        """The blocks that are not finished yet."""
        return [block for block in self.info.grid.blocks() if not self.file(block).exists()]

    def write(self, block: Block, arrays: Mapping[str, np.ndarray]) -> None:
        """Stores a finished block. Equal arrays make equal files.

        Raises:
          UserError: the file cannot be written.
        """
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **arrays)  # pyright: ignore[reportArgumentType]
        atomic.write_bytes(self.file(block), content.getvalue())

    def read(self, block: Block) -> dict[str, np.ndarray]:
        """Reads a finished block.

        Raises:
          DataError: the file is missing or damaged.
        """
        path, what = self.file(block), "a finished block of the map"
        need_file(path, what=what, advice=AGAIN)
        try:
            with np.load(path, allow_pickle=False) as found:
                return {name: found[name] for name in found.files}
        except Exception as error:  # of zipfile, zlib and NumPy, which raise errors of all kinds for damaged files
            raise DataError(tile="-", path=path, expected=what, found=f"a damaged file ({reason(error)})", advice=AGAIN) from error

    def blocks(self) -> Iterator[tuple[Block, dict[str, np.ndarray]]]:
        """Yields the blocks and their arrays, row by row.

        Raises:
          UserError: a block is not finished.
        """
        missing = self.missing()
        if missing:
            names = ", ".join(block.name for block in missing[:NAMED]) + (", ..." if missing[NAMED:] else "")
            raise UserError(
                f"{self.path}: expected a map whose blocks are all done, found {number_of(len(missing), 'block')} missing ({names}); run the command that "
                "computes them again (python -m omnisat_jax.predict --model ..., with its --shard if it had one)"
            )
        for block in self.info.grid.blocks():
            yield block, self.read(block)
