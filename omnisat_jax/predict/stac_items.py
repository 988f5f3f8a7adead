"""STAC items in files: which assets they have, of which date, and what they state about bands and values.

The JSON is read with the same care as our own files, so neither pystac nor an object per link is needed. Everything that is used must be on this
machine; an address is refused when its asset is needed, as thumbnails and metadata may stay where they are.
"""

import dataclasses
import datetime
import math
import pathlib
import re
import urllib.parse
from collections.abc import Sequence

from omnisat_jax.dates import find_date
from omnisat_jax.errors import DataError, UserError
from omnisat_jax.files.addresses import need_local
from omnisat_jax.files.json_file import Value, read_json
from omnisat_jax.files.paths import need_file, walk
from omnisat_jax.types import StrPath

ADVICE = "Check the path and the file."
WHAT = "STAC items: an ItemCollection, an item, or a folder of items"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# Pictures of the same bands, for people.
_PICTURES = {"overview", "thumbnail", "visual"}


@dataclasses.dataclass(frozen=True)
class Band:
    """What an item states about a band of an asset; "" or None where it says nothing.

    Attributes:
      name, common_name: of the band.
      scale, offset: a physical value is stored * scale + offset.
      no_data: the stored value that is no measurement.
    """

    name: str = ""
    common_name: str = ""
    scale: float | None = None
    offset: float | None = None
    no_data: float | None = None


@dataclasses.dataclass(frozen=True)
class Asset:
    """A file of an item.

    Attributes:
      key: its name in the item.
      href: where it is, as written.
      bands: in the order of the file; one without a name if none is described.
      is_picture: whether its role is to be looked at.
    """

    key: str
    href: str
    bands: tuple[Band, ...]
    is_picture: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Item:
    """A product.

    Attributes:
      path: the file that describes it.
      name: its ID.
      collection: "" if it is in none.
      day: YYYYMMDD in UTC.
      properties: of the item.
      assets: its files.
    """

    path: pathlib.Path
    name: str
    collection: str
    day: str
    properties: Value
    assets: tuple[Asset, ...]

    @property
    def text(self) -> str:
        """The file and the item, for messages."""
        return f"{self.path}: item {self.name}"

    def file(self, asset: Asset) -> pathlib.Path:
        """The path of an asset. Relative ones are relative to the file of the item.

        Raises:
          UserError: it is on another machine.
        """
        href = asset.href
        if href.lower().startswith("file:"):
            parts = urllib.parse.urlsplit(href)
            if parts.netloc in ("", "localhost"):
                return pathlib.Path(urllib.parse.unquote(parts.path))
        if _ADDRESS.match(href):
            raise UserError(
                f"{self.text}: expected asset {asset.key} on this machine, found {href[:200]}; download it first, as with "
                f"`stac-asset download {self.path.name} FOLDER`"
            )
        return self.path.parent / href


def read_items(path: StrPath) -> tuple[tuple[Item, ...], tuple[str, ...]]:
    """Reads items.

    Args:
      path: an ItemCollection, an item, or a folder with such files at any depth.

    Returns:
      The items in the order of dates, then of names, and remarks.

    Raises:
      UserError: no items, the same item twice, or an item that cannot be used.
    """
    need_local(path, "--stac", "save the items first (stac-client search --save)")
    path = pathlib.Path(path)
    others: list[pathlib.Path] = []
    items: list[Item] = []
    if path.is_dir():
        for file in walk(path):
            if file.suffix.lower() in (".json", ".geojson"):
                content = read_json(file, what=WHAT, advice=ADVICE)
                found = _features(content)
                items += [_item(feature) for feature in found or ()]
                others += [file] * (found is None)
        if not items:
            raise DataError(tile="-", path=path, expected=WHAT, found=f"a folder of {len(others)} other JSON files" if others else "a folder without any JSON")
    else:
        content = read_json(need_file(path, what=WHAT, advice=ADVICE), what=WHAT, advice=ADVICE)
        found = _features(content)
        if not found:
            kind = content.value.get("type") if isinstance(content.value, dict) else None
            words = "an ItemCollection without items" if found is not None else f"JSON of type {kind!r}" if kind else "JSON of another kind"
            raise DataError(tile="-", path=path, expected=WHAT, found=words, advice="Save the items of a search (stac-client search --save).")
        items = [_item(feature) for feature in found]
    items.sort(key=lambda item: (item.day, item.name, str(item.path)))
    seen: dict[tuple[str, str], Item] = {}
    for item in items:
        first = seen.setdefault((item.collection, item.name), item)
        if first is not item:
            raise UserError(f"{item.text}: expected each item once, found it in {first.path} as well; remove one")
    remarks = (f"not read, as they are no STAC items: {len(others)} JSON files in {path}, such as {others[0].name}",) if others else ()
    return tuple(items), remarks


def _features(content: Value) -> list[Value] | None:
    """The items in a JSON file; None if it is of another kind."""
    kind = content.value.get("type") if isinstance(content.value, dict) else None
    if kind == "Feature" and "stac_version" in content.value:
        return [content]
    if kind != "FeatureCollection":
        return None
    features = content.get("features").list()
    plain = [feature for feature in features if not isinstance(feature.value, dict) or "stac_version" not in feature.value]
    if plain:
        raise plain[0].error("a STAC item, with stac_version")
    return features


def _item(value: Value) -> Item:
    version = value.get("stac_version").text()
    if not version.startswith("1."):
        raise value.error("an item of STAC 1", f"version {version}", "Migrate it first (stac migrate).")
    properties = value.get("properties")
    assets = tuple(_asset(key, entry) for key, entry in value.get("assets").items().items())
    name = value.get("id").text()
    return Item(value.path, name, stated(value, "collection"), _day(properties), properties, assets)


def stated(value: Value, key: str) -> str:
    """The text of an entry of an object, or "" if there is none."""
    found = value.find(key)
    return "" if found.value in (None, "") else found.text()


def _day(properties: Value) -> str:
    found = properties.find("datetime")
    if found.value is None:
        found = properties.find("start_datetime")
    if found.value is None:
        raise properties.error("datetime, or start_datetime", "neither")
    text = found.text("a date and time")
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise found.error("a date and time such as 2021-06-01T10:30:00Z") from None
    if time.tzinfo is not None:  # without a time zone it is UTC, as all times of STAC
        time = time.astimezone(datetime.UTC)
    day = time.strftime("%Y%m%d")
    if find_date(day) is None:
        raise found.error("a plausible date")
    return day


def _asset(key: str, value: Value) -> Asset:
    common, eo, raster = (value.find(name, []).list() for name in ("bands", "eo:bands", "raster:bands"))
    counts = {len(entries) for entries in (common, eo, raster) if entries}
    if len(counts) > 1:
        raise value.error("as many entries in raster:bands as bands", " and ".join(map(str, sorted(counts))))
    bands = [_band([value, *(entries[index] for entries in (raster, eo, common) if entries)]) for index in range(max(counts, default=1))]
    roles = {role.text() for role in value.find("roles", []).list()}
    if not counts:
        bands = [dataclasses.replace(bands[0], name="", common_name="")]
    return Asset(key, value.get("href").text(), tuple(bands), bool(roles & _PICTURES))


def _band(values: Sequence[Value]) -> Band:
    """A band from the entries about it, the most general first."""
    named = values[1:]

    def text(*keys: str) -> str:
        return next((found for value in reversed(named) for key in keys if (found := stated(value, key))), "")

    def number(*keys: str) -> float | None:
        return next((_number(found) for value in reversed(values) for key in keys if (found := value.find(key)).value is not None), None)

    scale = number("raster:scale", "scale")
    if scale == 0:
        raise values[-1].error("a scale other than 0", "0")
    return Band(text("name"), text("common_name", "eo:common_name"), scale, number("raster:offset", "offset"), number("nodata", "raster:nodata"))


def _number(value: Value) -> float | None:
    if value.value in ("nan", "inf", "-inf"):
        return math.nan  # not finite, and so never a measurement
    return value.number()


def find_band(item: Item, wanted: str) -> tuple[Asset, int]:
    """The asset of a band, and the position of the band in it.

    The name of the band is the key of an asset with one band, or else the name of a band, or else its common name.

    Raises:
      UserError: none, or several.
    """
    name = wanted.casefold()
    ways = (
        lambda asset, band: asset.key.casefold() == name and len(asset.bands) == 1,
        lambda asset, band: band.name.casefold() == name,
        lambda asset, band: band.common_name.casefold() == name,
    )
    for matches in ways:
        found = [(asset, index) for asset in item.assets for index, band in enumerate(asset.bands) if matches(asset, band)]
        if len(found) > 1:  # the same band as a picture, or in another format
            found = [(asset, index) for asset, index in found if not asset.is_picture and asset.href.lower().endswith((".tif", ".tiff"))] or found
        if len(found) > 1:
            raise UserError(
                f"{item.text}: expected one asset with band {wanted}, found {', '.join(asset.key for asset, _ in found)}; remove the others from the item"
            )
        if found:
            return found[0]
    names = [text for asset in item.assets for text in dict.fromkeys((asset.key, *(band.name for band in asset.bands))) if text]
    raise UserError(f"{item.text}: expected the band {wanted}, which the model was trained with, found {', '.join(names[:40]) or 'no assets'}")


def left_out(item: Item, wanted: Sequence[str]) -> list[str]:
    """Keys of the assets that hold wanted bands as well but are not read: pictures of them, or other formats."""
    used, names = {find_band(item, band)[0].key for band in wanted}, {band.casefold() for band in wanted}
    return [asset.key for asset in item.assets if asset.key not in used and any(band.name.casefold() in names for band in asset.bands)]
