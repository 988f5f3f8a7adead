"""Arrays in HDF5 files: the expected form, stored in the file itself, and plain values."""

import h5py
import numpy as np
import pytest

from omnisat_jax.errors import DataError
from omnisat_jax.files.hdf5 import open_hdf5


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as target:
        target["x"] = np.arange(6, dtype=">i2").reshape(2, 3)
        target["names"] = ["a", "é"]
        target.create_group("group")
        target["soft"] = h5py.SoftLink("/x")
        target["external"] = h5py.ExternalLink("b.h5", "/x")
        target["empty"] = h5py.Empty("f")
        target["type"] = np.dtype("int16")
        scaled = target.create_dataset("scaled", data=np.ones((2, 3), np.int16))
        scaled.attrs["scale_factor"] = 0.1
        filled = target.create_dataset("filled", data=np.full((2, 3), 7, np.int16))
        filled.attrs["_FillValue"] = 7
        harmless = target.create_dataset("harmless", data=np.ones((2, 3), np.int16))
        harmless.attrs["_FillValue"] = 7
        harmless.attrs["scale_factor"] = 1.0
        target["latin"] = np.array([b"\xff", b"a"])
    return tmp_path / "a.h5"


def test_arrays_and_strings_are_read(path):
    with open_hdf5(path, tile="7") as source:
        found = source.array("x", shape=(None, 3), kinds="iu")
        np.testing.assert_array_equal(found, np.arange(6).reshape(2, 3))
        assert found.dtype == np.dtype("int16").newbyteorder("=") and source.shape("x") == (2, 3)
        assert source.texts("names", 2) == ["a", "é"]
        assert source.array("harmless", shape=(2, 3), kinds="i").sum() == 6
        assert source.array("none", shape=(1,), kinds="i") is source.texts("none", 1) is source.shape("none") is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("group", "expected an array, found a group"),
        ("soft", "an array in this file, found a link to another location"),
        ("external", "found a link to another location"),
        ("empty", "an empty dataset without a shape"),
        ("type", "found a named datatype"),
        ("scaled", "expected plain values, .*, found scale_factor 0.1, add_offset 0"),
        ("filled", "expected 0, -9999 or NaN for unknown values, found 6 of the _FillValue 7"),
        ("names", r"expected shape \(2, 3\), found shape \(2,\)"),
    ],
)
def test_other_entries_are_refused(path, name, message):
    with pytest.raises(DataError, match=f"tile 7: .*a.h5:{name}: .*{message}"), open_hdf5(path, tile="7") as source:
        source.array(name, shape=(2, 3), kinds="i")


def test_other_strings_are_refused(path):
    with open_hdf5(path, tile="7") as source:
        for name, count, message in (("names", 3, "3 strings"), ("x", 2, "2 strings"), ("latin", 2, "strings in UTF-8")):
            with pytest.raises(DataError, match=message):
                source.texts(name, count)


@pytest.mark.parametrize("cut", [0, 100, -1])
def test_damaged_files_are_named(path, cut):
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match="a.h5: expected an HDF5 file that can be read"), open_hdf5(path, tile="7") as source:
        source.array("x", shape=(2, 3), kinds="i")
