"""Which band of a file is which: what its descriptions say decides, and only where they say nothing its position."""

from collections.abc import Sequence

from omnisat_jax.errors import UserError


class BandNames:
    """The bands of a sensor, whose files are asked in turn.

    Files that describe their bands are read in the order of the first one, or of the names that the user gave where these are the same
    in another order. Names of the user that have nothing in common with the descriptions rename them.
    """

    def __init__(self, path, descriptions: Sequence[str], given: Sequence[str] = ()):
        """
        Args:
          path: of the sensor's first file that describes its bands, or of its first one.
          descriptions: of the bands of that file, "" where there is none.
          given: names that the user gave; () = none.

        Raises:
          UserError: names and bands that do not fit each other.
        """
        self._path, described = path, [text.strip() for text in descriptions]
        if given and len(given) != len(described):
            raise UserError(f"{path}: expected {len(given)} bands ({', '.join(given)}), found {len(described)}")
        names = tuple(given) or tuple(text or f"band{i + 1}" for i, text in enumerate(described))
        if len(set(_fold(names))) != len(names):
            raise UserError(
                f"{path}: expected each band once, found {', '.join(names)}; name them yourself with NAME=PATH:BAND,BAND"
            )
        self.names = names
        common = set(_fold(names)) & set(_fold(described))
        self._wanted = names if common or not any(described) else tuple(described)

    def order(self, path, descriptions: Sequence[str]) -> tuple[int, ...]:
        """Positions in a file of the bands of the sensor.

        Raises:
          UserError: another number of bands, or descriptions that are those of other bands.
        """
        found, wanted = _fold(descriptions), _fold(self._wanted)
        if len(found) != len(self.names):
            raise UserError(f"{path}: expected {len(self.names)} bands ({', '.join(self.names)}), found {len(found)}")
        if all(text in ("", name) for text, name in zip(found, wanted, strict=True)):
            return tuple(range(len(found)))
        if sorted(found) == sorted(wanted) and len(set(found)) == len(found):
            return tuple(found.index(name) for name in wanted)
        raise UserError(
            f"{path}: expected the bands {', '.join(self._wanted)}, found {', '.join(text or 'one without a name' for text in descriptions)}; "
            "correct the descriptions of the bands (gdal_edit.py), or leave this file out"
        )


def _fold(names):
    return [name.strip().casefold() for name in names]
