"""Which band of a file is which: its description decides, and its position only where there is no description."""

from collections.abc import Sequence

from omnisat_jax.errors import UserError
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of


class BandNames:
    """The bands of a sensor with several files.

    Files that describe their bands are read in the order of the first one, or in the order of the names given by the user if these are
    the same names. If the user's names have nothing in common with the descriptions, they rename the bands.
    """

    def __init__(self, path: StrPath, descriptions: Sequence[str], given: Sequence[str] = ()):
        """
        Args:
          path: the first file of the sensor that describes its bands, or the first file.
          descriptions: of the bands of that file, "" where there is none.
          given: names given by the user; () = none.

        Raises:
          UserError: names and bands that do not match.
        """
        self._path, described = path, [text.strip() for text in descriptions]
        if given and len(given) != len(described):
            raise UserError(f"{path}: expected {number_of(len(given), 'band')} ({', '.join(given)}), found {len(described)}")
        names = tuple(given) or tuple(text or f"band{i + 1}" for i, text in enumerate(described))
        if len(set(_fold(names))) != len(names):
            raise UserError(
                f"{path}: expected each band once, found {', '.join(names)}; name them yourself with NAME=PATH:BAND,BAND"
            )
        self.names = names
        common = set(_fold(names)) & set(_fold(described))
        self._wanted = names if common or not any(described) else tuple(described)

    def order(self, path: StrPath, descriptions: Sequence[str]) -> tuple[int, ...]:
        """Positions of the sensor's bands in a file.

        Args:
          path: of the file, for messages.
          descriptions: of its bands, "" where there is none.

        Raises:
          UserError: another number of bands, or descriptions of other bands.
        """
        found, wanted = _fold(descriptions), _fold(self._wanted)
        if len(found) != len(self.names):
            raise UserError(f"{path}: expected {number_of(len(self.names), 'band')} ({', '.join(self.names)}), found {len(found)}")
        if all(text in ("", name) for text, name in zip(found, wanted, strict=True)):
            return tuple(range(len(found)))
        if sorted(found) == sorted(wanted) and len(set(found)) == len(found):
            return tuple(found.index(name) for name in wanted)
        raise UserError(
            f"{path}: expected the bands {', '.join(self._wanted)}, found {', '.join(text or 'one without a name' for text in descriptions)}; "
            "correct the descriptions of the bands (rasterio: dataset.descriptions), or leave this file out"
        )


def _fold(names: Sequence[str]) -> list[str]:
    return [name.strip().casefold() for name in names]
