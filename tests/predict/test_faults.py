"""Files that are broken, missing, misnamed, misplaced or unreadable: one sentence says which and what to do, and there is no map."""

import errno
import json
import os
import pathlib

import numpy as np
import pytest
from rasterio.transform import from_origin

from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import DataError, printable
from omnisat_jax.files import atomic
from omnisat_jax.inference.model import Model
from omnisat_jax.predict import command, run
from omnisat_jax.predict.folder import BLOCKS, MapFolder
from tests.faults import breaking
from tests.predict.region import LEFT, TOP, Facts, Identity, put, scene, spec

FIRST, SECOND, IMAGE = "s/x_20210105.tif", "s/x_20210205.tif", "im.tif"
PLACE = from_origin(LEFT, TOP, 10, 10)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A series of two dates and an image of three bands, and a model of both."""
    for name in (FIRST, SECOND):
        put(tmp_path / name, scene().astype(np.float32), compress="deflate")
    put(tmp_path / IMAGE, np.full((3, 24, 40), 2, np.uint8), photometric="minisblack")
    monkeypatch.setattr(Model, "from_pretrained", lambda folder: Identity(spec(), spec("im", "image", 3), bands=("a", "b", "c")))
    return tmp_path


def mapped(here, *more, series=("s",)):
    arguments = ["--model", "stub", "--out", str(here / "out"), "--block", "16", *(text for name in series for text in ("--series", f"s={here / name}"))]
    return run_command(command.main, [*arguments, "--image", f"im={here / IMAGE}", *more])


def tiff(name, function=lambda bands: bands, **profile):
    """Changes the bands or the profile of a file, whose descriptions are kept."""

    def change(here):
        breaking.change_tiff(here / name, function, **profile)
        import rasterio

        with rasterio.open(here / name, "r+") as target:
            target.descriptions = tuple("abcd"[: target.count])

    return change


def on(name, function, *arguments):
    return lambda here: function(here / name, *arguments)


def rename(name):
    return lambda here: (here / SECOND).rename(here / "s" / name)


def write(name, text):
    def change(here):
        (here / name).write_text(text)

    return change


def link(name, target):
    def change(here):
        (here / name).unlink()
        (here / name).symlink_to(target)

    return change


def far_future(here):
    for name in (FIRST, SECOND):
        (here / name).rename(here / "s" / pathlib.Path(name).name.replace("2021", "2150"))


def control_points(here):
    import rasterio
    from rasterio.control import GroundControlPoint

    with rasterio.open(here / FIRST) as source:
        values = source.read()
    points = [GroundControlPoint(row, column, LEFT + 10 * column, TOP - 10 * row) for row, column in ((0, 0), (0, 40), (24, 0))]
    (here / FIRST).unlink()
    with rasterio.open(here / FIRST, "w", driver="GTiff", count=1, height=24, width=40, dtype="float32") as target:
        target.write(values)
        target.gcps = points, rasterio.CRS.from_epsg(32631)


def undescribed(here):
    put(here / IMAGE, np.full((3, 24, 40), 2, np.uint8), descriptions=None, photometric="minisblack")


def two_images(here):
    import rasterio

    (here / FIRST).unlink()
    for more in ({}, {"APPEND_SUBDATASET": "YES"}):
        with rasterio.open(
            here / FIRST, "w", driver="GTiff", count=1, height=24, width=40, dtype="float32", crs="EPSG:32631", transform=PLACE, **more
        ) as target:
            target.write(np.ones((1, 24, 40), np.float32))


def sparse(here):
    put(here / FIRST, np.zeros((24, 40), np.float32), sparse_ok=True, blockysize=8)


def mask(tags=None, height=24):
    """Puts a mask beside the first file, as GDAL expects it but for the tags or the height."""

    def change(here):
        import rasterio

        with rasterio.open(f"{here / FIRST}.msk", "w", driver="GTiff", count=1, height=height, width=40, dtype="uint8") as target:
            target.write(np.full((1, height, 40), 255, np.uint8))
            target.update_tags(**({"INTERNAL_MASK_FLAGS_1": "2"} if tags is None else tags))

    return change


def integers(here):
    put(here / FIRST, scene().astype(np.uint8))
    write(f"{FIRST}.aux.xml", '<PAMDataset><PAMRasterBand band="1"><NoDataValue>1.5</NoDataValue></PAMRasterBand></PAMDataset>')(here)


def world_file(here):
    tiff(FIRST, crs=None, transform=None)(here)
    (here / FIRST).with_suffix(".tfw").write_text("10\n0\n0\n-10\n600005\n5699995\n")


# name: (what breaks the inputs, the file that is named, what else the sentence says)
FAULTS = {
    "truncated": (on(FIRST, lambda path: path.write_bytes(path.read_bytes()[:-40])), FIRST, "cut off"),
    "half a file": (on(FIRST, breaking.halve), FIRST, "cut off"),
    "empty": (on(FIRST, breaking.empty), FIRST, "unreadable file of 0 bytes (it is empty)"),
    "missing image": (on(IMAGE, pathlib.Path.unlink), IMAGE, "no such file"),
    "missing folder": (lambda here: (here / "s").rename(here / "elsewhere"), "s", "no such folder"),
    "file instead of a folder": (lambda here: ((here / "s").rename(here / "elsewhere"), (here / "s").touch()), "s", "a file"),
    "empty folder": (lambda here: [(here / name).unlink() for name in (FIRST, SECOND)], "s", "found none"),
    "only hidden files": (lambda here: [(here / name).rename(here / "s" / f".{index}_20210105.tif") for index, name in enumerate((FIRST, SECOND))], "s", ".0_"),
    "only folders": (lambda here: ((here / "s").rename(here / "t"), (here / "s").mkdir(), (here / "t").rename(here / "s" / "2021")), "s", "the folder 2021"),
    "folder instead of a file": (on(FIRST, breaking.folder), FIRST, "a folder"),
    "pipe": (on(FIRST, breaking.fifo), FIRST, "not a regular file"),
    "pipe instead of an image": (on(IMAGE, breaking.fifo), IMAGE, "not a regular file"),
    "broken link": (link(FIRST, "nowhere.tif"), FIRST, "a broken link"),
    "loop of links": (link(FIRST, "x_20210105.tif"), FIRST, "loop"),
    "loop of links instead of a folder": (lambda here: ((here / "s").rename(here / "t"), (here / "s").symlink_to("s")), "s", "found"),
    "an image of another format": (on(FIRST, lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(90))), FIRST, "it is a PNG image). Convert it first"),
    "a page of an error": (write(FIRST, "<!DOCTYPE html><p>Please log in"), FIRST, "it is a web page or XML). The download"),
    "text": (write(FIRST, "no raster"), FIRST, "unreadable file"),
    "virtual raster": (on(FIRST, breaking.vrt), FIRST, "unreadable file"),
    "metadata that is no XML": (write(f"{FIRST}.aux.xml", "<a>"), f"{FIRST}.aux.xml", "XML"),
    "mask that is no TIFF": (write(f"{FIRST}.msk", "<VRTDataset/>"), f"{FIRST}.msk", "another format"),
    "several images in one file": (two_images, FIRST, "2 in one file"),
    "no date": (rename("x.tif"), "x.tif", "expected a date"),
    "no such day": (rename("x_20210230.tif"), "x_20210230.tif", "no valid one"),
    "year 1": (rename("x_00010105.tif"), "x_00010105.tif", "no valid one"),
    "year 1969": (rename("x_19691231.tif"), "x_19691231.tif", "no valid one"),
    "year 2101": (rename("x_21010105.tif"), "x_21010105.tif", "no valid one"),
    "escape sequence in a name": (rename("x_\x1b[31m'\"[b].tif"), r"x_\x1b[31m'", "expected a date"),
    "complex numbers": (tiff(FIRST, lambda b: b.astype(np.complex64)), FIRST, "complex"),
    "another number of bands": (tiff(SECOND, lambda b: b[[0, 0]]), SECOND, "found 2"),
    "too few bands": (tiff(IMAGE, lambda b: b[:2]), IMAGE, "without c"),
    "a band that nobody names": (lambda here: put(here / IMAGE, np.full((3, 24, 40), 2, np.uint8), descriptions=("a", "", "c"), photometric="minisblack"), IMAGE, "im=PATH:BAND"),
    "bands that nobody names": (undescribed, IMAGE, "names as in im=PATH"),
    "no reference system": (tiff(FIRST, crs=None), FIRST, "coordinate reference system"),
    "no position": (tiff(FIRST, transform=None), FIRST, "position"),
    "control points only": (control_points, FIRST, "ground control points only"),
    "pixels without a height": (tiff(FIRST, transform=PLACE @ PLACE.scale(1, 0)), FIRST, "found"),
    "position that is not finite": (tiff(FIRST, transform=from_origin(np.nan, TOP, 10, 10)), FIRST, "found"),
    "a world file, but no system": (world_file, FIRST, "found a position only"),
    "a system, but no position": (tiff(FIRST, transform=None), FIRST, "found a system only"),
    "latitude before longitude": (tiff(FIRST, crs="EPSG:4326", transform=from_origin(50, 120, 1e-4, 1e-4)), FIRST, "seem to be exchanged"),
    "meters instead of degrees": (tiff(FIRST, crs="EPSG:4326"), FIRST, "reference system seems to be another one"),
    "degrees instead of meters": (tiff(FIRST, transform=from_origin(5, 45, 1e-4, 1e-4)), FIRST, "as if they were degrees"),
    "nodata between integers": (integers, FIRST, "a nodata value that pixels of uint8 can have, found 1.5"),
    "blocks that are not stored": (sparse, FIRST, "3 of 3 blocks of pixels not stored"),
    "a mask that GDAL passes over": (mask(tags={}), f"{FIRST}.msk", "no such tag"),
    "a mask of another size": (mask(height=12), f"{FIRST}.msk", "found 12x40 px"),
    "line break in a name": (lambda here: (here / FIRST).rename(here / "s" / "a\n_20210105.tif") and (here / "s" / "a\n_20210105.tif").write_bytes(b""), r"a\n_2021", "empty"),
    "coordinates of a plan": (tiff(FIRST, crs='LOCAL_CS["plan",UNIT["metre",1]]'), FIRST, "neither geographic nor projected"),
    "heights only": (tiff(FIRST, crs="EPSG:5703"), FIRST, "neither geographic nor projected"),
    "another planet": (tiff(FIRST, crs="ESRI:104905", transform=from_origin(4, 50, 1e-4, 1e-4)), FIRST, "ESRI:104905"),
    "place beyond the projection": (tiff(FIRST, crs="EPSG:3857", transform=from_origin(1e12, 1e12, 10, 10)), FIRST, "georeference"),
    "another unit": (tiff(IMAGE, lambda b: b.astype(np.float32) / 10_000), "im", "--convert im"),
    "scale of 0": (lambda here: put(here / FIRST, scene().astype(np.float32), scales=(0.0,)), FIRST, "scale"),
    "another season": (far_future, "s", "expected a date"),
}  # fmt: skip


def said(capsys):
    """The one sentence that was printed."""
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "bug in" not in error and "Traceback" not in error, error
    assert printable(error, None) == error and "archive" not in error  # which a user's own imagery does not come from
    return error


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_sentence_and_there_is_no_map(here, capsys, name):
    make, path, found = FAULTS[name]
    make(here)
    assert mapped(here) == 1
    error = said(capsys)
    assert path in error and found in error, error
    assert any(word in error for word in ("expected", "cannot")), error
    assert not (here / "out").exists()


def test_beyond_the_edge_of_a_system(here, capsys):
    """Coordinates come back on the other side of the Earth."""
    for name in (FIRST, SECOND, IMAGE):
        tiff(name, crs="EPSG:3857", transform=from_origin(20_037_400, -1_900_000, 10, 10))(here)
    assert mapped(here, "--crs", "EPSG:32760") == 1
    assert "found x 20037600, y -1900120, which lie beyond its edge" in said(capsys)


def test_intact_inputs_make_a_map(here):
    assert mapped(here) == 0 and (here / "out" / "class.tif").exists()


def test_nothing_known(here, capsys):
    for name in (FIRST, SECOND):
        tiff(name, lambda b: np.full_like(b, np.nan))(here)
    tiff(IMAGE, np.zeros_like, nodata=0)(here)
    assert mapped(here, "--window", "20") == 1
    assert "expected a known value of s or im in the area, found none" in said(capsys) and not (here / "out").exists()


def test_two_sensors_of_one_name(here, capsys):
    assert mapped(here, series=("s", "s")) == 1
    assert "found s more than once" in said(capsys) and not (here / "out").exists()
    (here / "region.json").write_text('{"series": {"s": "s"}, "image": {"s": "im.tif"}}')
    assert run_command(command.main, ["--model", "stub", "--out", str(here / "out"), "--region", str(here / "region.json")]) == 1
    assert "found s more than once" in said(capsys)


def test_what_is_not_read_is_said(here, capsys):
    (here / SECOND).rename(here / "s" / ".x_20210205.tif")
    (here / "s" / "2020").mkdir()
    (here / "s" / "[red]a\x1b[31m").touch()
    (here / "s" / "quicklook.png").touch()
    put(here / "scl" / "x_20210105.tif", np.full((24, 40), 4, np.uint8))
    (here / "scl" / "x.jp2").touch()
    assert mapped(here, "--scl", f"s={here / 'scl'}") == 0
    text = capsys.readouterr().out
    assert "1 folder in" in text and "not GeoTIFFs: 2 files in" in text and "s: scene classification: not read, as they are not GeoTIFFs: 1 file in" in text and "hidden: 1 file in" in text and "\x1b[31m" not in text
    assert MapFolder.open(here / "out").info.sensors[0].dates == ("2021-01-05",)


def test_two_files_of_a_date_that_overlap(here):
    """The first in the order of names counts, and the other one where it is unknown."""
    values = np.full((24, 40), 3, np.float32)
    values[:, 20:] = np.nan
    (here / SECOND).unlink()
    put(here / "s" / "a_20210105.tif", values)
    assert mapped(here) == 0
    first = {(block.row, block.column): arrays for block, arrays in MapFolder.open(here / "out").blocks()}
    assert (first[0, 0]["class"] == 3).all() and (first[0, 2]["class"] == scene()[:16, 32:]).all()
    assert (first[0, 0]["dates"] == 1).all()


@pytest.mark.parametrize("how", ["vanishes", "changes"])
def test_a_file_that_changes_while_the_map_is_made(here, capsys, monkeypatch, how):
    def late(*arguments):
        (here / FIRST).unlink() if how == "vanishes" else put(here / FIRST, np.zeros((24, 40), np.float32))
        return start(*arguments)

    start = MapFolder.start
    monkeypatch.setattr(run.MapFolder, "start", late)
    assert mapped(here) == 1
    error = said(capsys)
    assert FIRST in error and ("changed since" in error or "no such file" in error), error
    assert not list((here / "out" / BLOCKS).iterdir())


@pytest.mark.parametrize("how", ["changes", "appears"])
def test_a_file_that_changes_between_two_shards(here, capsys, how):
    assert mapped(here, "--shard", "0/2") == 0
    put(here / FIRST if how == "changes" else here / "s" / "x_20210305.tif", np.zeros((24, 40), np.float32))
    assert mapped(here, "--shard", "1/2") == 1
    error = said(capsys)
    assert str(here / "out") in error and "another" in error and "--out" in error


@pytest.mark.parametrize("how", ["file", "file above", "loop", "taken"])
def test_a_folder_that_cannot_be_written(here, capsys, how):
    out = here / "out"
    {"file": out.touch, "file above": out.touch, "loop": lambda: out.symlink_to("out"), "taken": lambda: (out.mkdir(), (out / "mine").touch())}[how]()
    more = ["--out", str(out / "below")] if how == "file above" else []
    assert mapped(here, *more) == 1
    error = said(capsys)
    assert str(out) in error and "choose another --out" in error, error


def test_a_full_disk(here, capsys, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(atomic.os, "fsync", full)
        assert mapped(here) == 1
    assert "cannot be written (the disk is full)" in said(capsys)
    assert mapped(here) == 0 and not list(here.rglob("*.partial-*"))


def spoil(path, how):
    content = path.read_bytes()
    if how == "folder":
        breaking.folder(path)
    elif how == "pipe":
        breaking.fifo(path)
    elif how == "other arrays":
        np.savez(path, a=np.zeros(3))
    elif how == "pickled":
        path.write_bytes(b"")
        np.savez(path, **{"class": np.array([{}], object)})
    else:
        path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "text": b"no block", "zeros": bytes(len(content))}[how])


@pytest.mark.parametrize("how", ["empty", "half", "text", "zeros", "folder", "pipe", "other arrays", "pickled"])
def test_a_damaged_block(here, capsys, how):
    """It is named, and computed again once it is deleted."""
    assert mapped(here) == 0
    expected = (here / "out" / "class.tif").read_bytes()
    path = sorted((here / "out" / BLOCKS).iterdir())[1]
    spoil(path, how)
    capsys.readouterr()
    assert run_command(command.main, ["finish", "--out", str(here / "out")]) == 1
    error = said(capsys)
    assert str(path) in error and "Delete it, and run the command that made the map again" in error, error
    path.rmdir() if path.is_dir() else path.unlink()
    assert mapped(here) == 0 and (here / "out" / "class.tif").read_bytes() == expected


def test_every_damaged_byte_of_a_block_is_noticed_or_harmless(here):
    assert mapped(here) == 0
    folder = MapFolder.open(here / "out")
    block = next(folder.info.grid.blocks())
    path, intact = folder.file(block), folder.read(block)
    content = path.read_bytes()
    noticed = 0
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            found = folder.read(block)
        except DataError:
            noticed += 1
            continue
        assert all((found[name] == intact[name]).all() for name in intact if name in found)
    assert noticed > len(content) // 20


def test_a_damaged_description(here, capsys):
    assert mapped(here) == 0
    path = here / "out" / "run.json"
    values = json.loads(path.read_text())
    for change in (lambda v: v | {"format": 9}, lambda v: v | {"grid": 3}, lambda v: {key: v[key] for key in v if key != "sensors"}, lambda v: [v]):
        path.write_text(json.dumps(change(values)))
        capsys.readouterr()
        assert run_command(command.main, ["finish", "--out", str(here / "out")]) == 1
        assert str(path) in said(capsys)


def test_dates_far_from_those_of_the_training(here, capsys, monkeypatch):
    model = Identity(spec(), spec("im", "image", 3), bands=("a", "b", "c"))
    model.sensors["s"] = Facts(("a",), first_day=17_800, last_day=17_900)
    model.trained.config.data.origin = "2018-09-01"
    monkeypatch.setattr(Model, "from_pretrained", lambda folder: model)
    assert mapped(here) == 1
    assert "--origin" in said(capsys) and not (here / "out").exists()


def test_a_fill_value_that_is_not_declared(here, capsys):
    """It would count as a measurement; declared, it does not."""
    values = scene().astype(np.float32)
    values[:2, :5] = -9999
    put(here / FIRST, values, compress="deflate")
    assert mapped(here, "--any_radiometry") == 1
    assert "x_20210105.tif (20210105): expected measurements, found -9999 in" in printable(capsys.readouterr().err).replace("\n", " ")
    assert not (here / "out" / "classes.tif").exists()
    put(here / FIRST, values, compress="deflate", nodata=-9999)
    assert mapped(here, "--any_radiometry") == 0
