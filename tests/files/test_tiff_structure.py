"""A TIFF that has been cut off is noticed from its directories."""

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling

from omnisat_jax.files.tiff_structure import Structure, read_structure
from tests.region import write

BANDS = np.random.default_rng(0).integers(0, 9, (3, 64, 80)).astype(np.uint16)
FORMS = {
    "strips": {}, "tiles": {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}, "BigTIFF": {"BIGTIFF": "YES"},
    "big-endian": {"ENDIANNESS": "BIG"}, "both": {"BIGTIFF": "YES", "ENDIANNESS": "BIG"}, "one strip": {"blockysize": 64},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_whole_file_is_long_enough_and_a_part_of_it_is_not(tmp_path, form):
    path = write(tmp_path / "a.tif", BANDS, descriptions=("a", "b", "c"), nodata=7, **FORMS[form])
    size, content = path.stat().st_size, path.read_bytes()
    assert size - 1 <= read_structure(path).size <= size  # a list may be padded to an even number of bytes
    for length in (*range(0, 200), *range(size // 2, size - 1, 97), size - 2):
        path.write_bytes(content[:length])
        assert length < 4 or read_structure(path).size > length, length


def test_overviews_count(tmp_path):
    path = write(tmp_path / "a.tif", BANDS)
    with rasterio.open(path, "r+") as target:
        target.build_overviews([2, 4], Resampling.nearest)
    size = path.stat().st_size
    assert size - 1 <= read_structure(path).size <= size


def test_missing_tiles_need_nothing(tmp_path):
    path = tmp_path / "a.tif"
    profile = dict(driver="GTiff", count=1, height=64, width=64, dtype="uint8", tiled=True, blockxsize=16, blockysize=16, sparse_ok=True)
    with rasterio.open(path, "w", **profile) as target:
        target.write(np.ones((1, 16, 16), np.uint8), window=((0, 16), (0, 16)))
    found = read_structure(path)
    assert 0 < found.size <= path.stat().st_size and (found.blocks, found.missing) == (16, 15)


@pytest.mark.parametrize("content", [b"", b"I", b"II", b"II*", b"no TIFF at all", b"MM\0\1aaaaaaaa"])
def test_other_files_are_left_to_their_reader(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert read_structure(tmp_path / "a") == Structure()


def test_directories_in_a_loop_end(tmp_path):
    (tmp_path / "a").write_bytes(b"II*\0\x08\0\0\0" + b"\0\0" + b"\x08\0\0\0")
    assert read_structure(tmp_path / "a") == Structure()
