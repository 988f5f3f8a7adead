"""Sensors of a map from STAC items: which items belong to a sensor, and what their assets hold.

A sensor is stated as NAME=COLLECTION, and PROPERTY=VALUE after commas keeps the items with this property:

    s2=sentinel-2-l2a   s1a=sentinel-1-rtc,sat:orbit_state=ascending

Letters: C bands of the model.
"""

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence

from omnisat_jax.dates import EPOCH, parse_date
from omnisat_jax.errors import DataError, UserError
from omnisat_jax.files.paths import need_file
from omnisat_jax.modalities import ModalitySpec, check_sensor_name
from omnisat_jax.predict.options import PredictOptions
from omnisat_jax.predict.sensors import File, Frame, Piece, Scaling, Sensor, make_pieces
from omnisat_jax.predict.stac_items import Asset, Band, Item, find_band, left_out, read_items, stated
from omnisat_jax.rasters.offset import BASELINE_WITH_OFFSET, OWN_BASELINE, is_sentinel_2
from omnisat_jax.rasters.sources import Header, Layer, Product, Source, read_header
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

SCL = "stac"  # --scl NAME=stac: the scene classification is an asset of the items


@dataclasses.dataclass(frozen=True)
class Items:
    """A sensor in STAC items.

    Attributes:
      name: of the modality.
      items: in the order of dates; at least one.
      clouds: whether the asset SCL marks unknown pixels.
      remarks: what the user should know, in words.
    """

    name: str
    items: tuple[Item, ...]
    clouds: bool = False
    remarks: tuple[str, ...] = ()

    def bind(self, spec: ModalitySpec, bands: Sequence[str], scaling: Scaling, options: PredictOptions) -> Sensor:
        """See `SensorInput.bind`."""
        if not bands:
            raise UserError(
                f"{spec.name}: expected a model that knows the names of its bands, as they are looked for in STAC items, found none; "
                f"give the files with --{spec.kind}"
            )
        groups, masks, bad = _read(self, bands, options)
        files = [mask.layer.path for mask in masks.values()]
        remarks = [*self.remarks, *bad]
        found: dict[Item, list[Piece]] = {}
        for group, parts in groups.items():
            source = Source(spec.name, spec.kind, tuple(part.layer for part in parts), parts[0].names)
            pieces, words = make_pieces(source, [File(part.layer) for part in parts], group.positions, scaling, options, group.places)
            remarks += [text for text in words if text not in remarks]
            files += [part.layer.path for part in parts]
            for part, piece in zip(parts, pieces, strict=True):
                mask = masks.get(part.item)
                found.setdefault(part.item, []).append(
                    dataclasses.replace(
                        piece, no_data=(*piece.no_data, *group.no_data), masks=(mask,) if mask else (), product=f"{part.item.collection} {part.item.name}"
                    )
                )
        used = [item for item in self.items if item in found]
        remarks += _offset_remarks(used)
        pictures = list(dict.fromkeys(key for item in used for key in left_out(item, bands)))
        remarks += [f"not read, as other assets hold the same bands as measurements: {', '.join(pictures)}"] if pictures else []
        dates = list(dict.fromkeys(item.day for item in used))
        if spec.kind == "image" and len(dates) > 1:
            remarks.append(f"one image is made of items of {number_of(len(dates), 'date')}, {dates[0]} to {dates[-1]}; where they overlap, the earliest counts")
        days: dict[str, list[Piece]] = {}
        for item in used:
            days.setdefault(item.day if spec.kind == "series" else "", []).extend(found[item])
        frames = tuple(Frame((parse_date(day) - EPOCH).days if day else 0, tuple(pieces)) for day, pieces in days.items())
        return Sensor(spec, tuple(bands), frames, options.conversions.get(spec.name, ""), tuple(dict.fromkeys(files)), tuple(remarks))


def parse_stac(path: StrPath, texts: Sequence[str], scl: Mapping[str, str]) -> tuple[Items, ...]:
    """The sensors in STAC items.

    Args:
      path: see `read_items`.
      texts: NAME=COLLECTION[,PROPERTY=VALUE...] of each sensor.
      scl: sensor -> SCL.

    Raises:
      UserError: the items cannot be used, or none belongs to a sensor.
    """
    items, remarks = read_items(path)
    if not texts:
        raise UserError(f"--stac: expected --stac_sensor NAME=COLLECTION for each sensor, found none; {path} has {_collections(items)}")
    found = []
    for text in texts:
        name, equals, rest = text.partition("=")
        if not equals or not rest:
            raise UserError(f"--stac_sensor: expected NAME=COLLECTION or NAME=COLLECTION,PROPERTY=VALUE, found {text!r}")
        check_sensor_name(name)
        collection, *conditions = rest.split(",")
        wanted = {}
        for condition in conditions:
            key, equals, value = condition.partition("=")
            if not equals or not key or not value or key in wanted:
                raise UserError(f"--stac_sensor: expected PROPERTY=VALUE after the collection, each property once, found {condition!r} in {text!r}")
            wanted[key] = value
        if name in scl and scl[name] != SCL:
            raise UserError(f"--scl: expected {name}={SCL}, as {name} is read from STAC items with an asset SCL, found {name}={scl[name]}")
        found.append(Items(name, select(path, items, collection, wanted), name in scl, remarks))
    return tuple(found)


def select(path: StrPath, items: Sequence[Item], collection: str, wanted: Mapping[str, str]) -> tuple[Item, ...]:
    """The items of a collection that have some properties.

    Args:
      path: where the items are from, for messages.
      items: all of them.
      collection: name of the collection.
      wanted: property -> value, numbers as text.

    Raises:
      UserError: there is none.
    """
    members = [item for item in items if item.collection == collection]
    if not members:
        raise UserError(f"{path}: expected items of the collection {collection}, found {_collections(items)}")
    chosen = tuple(item for item in members if all(_text(item, key) == value for key, value in wanted.items()))
    if not chosen:
        facts = [f"{key} of {', '.join(sorted({_text(item, key) for item in members})[:8])}" for key in wanted]
        raise UserError(f"{path}: expected items of {collection} with {' and '.join('='.join(pair) for pair in wanted.items())}, found {' and '.join(facts)}")
    return chosen


def _text(item: Item, key: str) -> str:
    value = item.properties.find(key).value
    return value if isinstance(value, str) else json.dumps(value)


def _collections(items: Sequence[Item]) -> str:
    names = [item.collection or "no collection" for item in items]
    return ", ".join(f"{name} ({number_of(names.count(name), 'item')})" for name in dict.fromkeys(names))


@dataclasses.dataclass(frozen=True)
class _Part:
    """A file of an item.

    Attributes:
      item: the item.
      layer: what is known about the file.
      names: of the bands in the file.
    """

    item: Item
    layer: Layer
    names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Group:
    """Bands that are found in the same way in many items: in one file, at the same positions, with the same value for no data."""

    positions: tuple[int, ...]
    places: tuple[int, ...]
    no_data: tuple[float, ...]


def _read(source: Items, bands: Sequence[str], options: PredictOptions) -> tuple[dict[_Group, list[_Part]], dict[Item, File], list[str]]:
    """Reads the headers of all files; items whose files cannot be read are left out if the user wants that."""
    groups: dict[_Group, list[_Part]] = {}
    masks: dict[Item, File] = {}
    bad: list[DataError] = []
    for item in source.items:
        try:
            parts = list(_parts(item, bands, options.s2_offsets.get(source.name, "")))
            if source.clouds:
                masks[item] = _mask(item)
        except DataError as error:
            bad.append(error)
            if options.on_bad != "mask" or len(bad) == len(source.items):
                raise
            continue
        for group, part in parts:
            groups.setdefault(group, []).append(part)
    return groups, masks, [f"left out: {error}" for error in bad]


def _parts(item: Item, bands: Sequence[str], option: str) -> Iterator[tuple[_Group, _Part]]:
    """(group, part) for each file of an item that holds bands of the model."""
    assets: dict[str, Asset] = {}
    found: dict[str, dict[tuple[float, ...], list[tuple[int, int]]]] = {}
    for place, band in enumerate(bands):
        asset, position = find_band(item, band)
        unknown = asset.bands[position].no_data
        no_data = () if unknown is None or not math.isfinite(unknown) else (unknown,)  # what is not finite is never a measurement
        assets[asset.key] = asset
        found.setdefault(asset.key, {}).setdefault(no_data, []).append((position, place))
    for key, asset in assets.items():
        layer, names = _layer(item, asset, option)
        for no_data, pairs in found[key].items():
            positions, places = zip(*pairs)
            yield _Group(positions, places, no_data), _Part(item, layer, names)


def _layer(item: Item, asset: Asset, option: str = "") -> tuple[Layer, tuple[str, ...]]:
    """What the file and the item declare about an asset."""
    path, count = item.file(asset), len(asset.bands)
    need_file(path, what=f"asset {asset.key} of item {item.name} in {item.path.name}: a GeoTIFF", advice="Download it, or correct its href.")
    header = read_header(path, count, square=False)
    if len(header.scales) != count:
        raise DataError(tile="-", path=path, expected=f"{number_of(count, 'band')}, as item {item.name} describes for asset {asset.key}", found=f"{len(header.scales)}")
    product = _product(item)
    no_offset = product.harmonised or (product.sentinel_2 and (option == "none" or (product.baseline or BASELINE_WITH_OFFSET) < BASELINE_WITH_OFFSET))
    units = [_unit(item, asset, band, header, index, no_offset) for index, band in enumerate(asset.bands)]
    scales, offsets = zip(*units)
    layer = Layer(
        grid=header.grid, day=item.day, order=tuple(range(count)), described=True, dtype=header.dtype, scales=scales, offsets=offsets,
        declares_unknown=header.declares_unknown, count=count, product=product, block=header.block,
    )  # fmt: skip
    return layer, tuple(band.name or asset.key for band in asset.bands)


def _unit(item: Item, asset: Asset, band: Band, header: Header, index: int, no_offset: bool) -> tuple[float, float]:
    """Scale and offset of a band: the tags of the file, or what the item states; both must agree."""
    scale, offset = header.scales[index], header.offsets[index]
    stated = band.scale if band.scale is not None else 1.0, 0.0 if no_offset else band.offset or 0.0
    if (band.scale is None and band.offset is None) or stated == (1.0, 0.0):
        return scale, offset
    if (scale, offset) == (1.0, 0.0):
        return stated
    if not all(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) for a, b in zip((scale, offset), stated)):
        raise UserError(
            f"{item.text}: expected the scale and offset of the file in asset {asset.key}, {scale:g} and {offset:g}, found {stated[0]:g} and "
            f"{stated[1]:g}; correct or remove the wrong ones"
        )
    return scale, offset


def _mask(item: Item) -> File:
    asset, position = find_band(item, "SCL")
    layer, _ = _layer(item, asset)
    if len(layer.order) != 1 or layer.dtype.kind not in "iu":
        raise UserError(f"{layer.text}: expected one band of classes (SCL), found {number_of(len(layer.order), 'band')} of {layer.dtype}")
    return File(layer)


def _product(item: Item) -> Product:
    """What the item says about its product; of Sentinel-2, whether values are 1,000 higher."""
    properties = item.properties
    names = [item.name, item.collection, *(stated(properties, key) for key in ("constellation", "platform"))]
    found = properties.find("s2:processing_baseline")
    if found.value is None and not any(map(is_sentinel_2, names)):
        return Product(sentinel_2=False)
    baseline, strict = None, found.value is not None
    found = found if strict else properties.find("processing:version")
    if found.value is not None:
        match = re.fullmatch(r"0?(\d{1,2})\.(\d{2})", found.text("a processing baseline"))
        if strict and not match:
            raise found.error("a processing baseline such as 05.09")
        baseline = int(match[1]) * 100 + int(match[2]) if match else None
    harmonised = properties.find("earthsearch:boa_offset_applied", False).boolean()
    return Product(sentinel_2=True, baseline=None if baseline == OWN_BASELINE else baseline, harmonised=harmonised)


def _offset_remarks(items: Sequence[Item]) -> list[str]:
    count = sum(_product(item).harmonised for item in items)
    words = "the offset of 1,000 was removed from their values already (earthsearch:boa_offset_applied); nothing is subtracted from them"
    return [f"{count} of {number_of(len(items), 'item')} state that {words}"] if count else []
