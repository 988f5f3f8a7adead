"""The header of a .npy file is compared with what is expected before any number is read."""

import io

import numpy as np
import pytest

from omnisat_jax.errors import DataError
from omnisat_jax.files import npy
from omnisat_jax.files.npy import npy_shape, read_npy

VALUES = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def read(path, shape=(None, 3, 4), kinds="iu"):
    return read_npy(path, tile="7", what="an array", shape=shape, kinds=kinds)


@pytest.mark.parametrize("values", [VALUES, VALUES.astype(">i2"), np.asfortranarray(VALUES)], ids=["plain", "big endian", "Fortran"])
def test_arrays_of_any_byte_and_memory_order_are_read(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    found = read(tmp_path / "a.npy")
    np.testing.assert_array_equal(found, VALUES)
    assert found.dtype == np.int16 and npy_shape(tmp_path / "a.npy", tile="7", what="an array", rank=3) == (2, 3, 4)


@pytest.mark.parametrize(
    ("shape", "kinds", "message"),
    [
        ((None, 3, 5), "iu", r"expected an array of shape \(N, 3, 5\), found shape \(2, 3, 4\)"),
        ((24,), "iu", r"an array of shape \(24,\), found shape \(2, 3, 4\)"),
        ((2, 3, 4), "f", "floating point numbers, found int16"),
        ((2, 3, 4), "ub", "unsigned integers or booleans, found int16"),
    ],
)
def test_other_forms_are_refused(tmp_path, shape, kinds, message):
    np.save(tmp_path / "a.npy", VALUES)
    with pytest.raises(DataError, match=f"tile 7: .*a.npy: .*{message}"):
        read(tmp_path / "a.npy", shape, kinds)


def file_with_header(header):
    target = io.BytesIO()
    target.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    return target.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "unreadable file of 0 bytes"),
        (b"x" * 100, "unreadable file of 100 bytes"),
        (file_with_header(b"{'descr': '<i2', 'fortran_order': False, 'shape': (-1, 3, 4)}"), "a negative length"),
        (file_with_header(b"{'descr': '<i2', 'fortran_order': False, 'shape': (10**9, 3, 4)}"), "unreadable"),
        (file_with_header(b"{'descr': '<i2', 'fortran_order': False, 'shape': (9999, 3, 4)}"), "expected .* bytes, found"),
        (file_with_header(b"{'descr': '|O', 'fortran_order': False, 'shape': (2, 3, 4)}"), "object values"),
        (file_with_header(b"(" * 9000), "unreadable"),
        (b"\x93NUMPY\x03\x00", "format 3.0, which plain arrays do not use"),
    ],
)
def test_malformed_files_are_named(tmp_path, content, message):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=f"tile 7: .*a.npy.*{message}"):
        read(tmp_path / "a.npy")


def test_truncated_arrays_are_named(tmp_path):
    np.save(tmp_path / "a.npy", VALUES)
    whole = (tmp_path / "a.npy").read_bytes()
    for content in (whole[:-1], whole + b"x"):
        (tmp_path / "a.npy").write_bytes(content)
        with pytest.raises(DataError, match=f"{len(whole)} bytes, found {len(content)} bytes"):
            read(tmp_path / "a.npy")


def test_unspecified_lengths_are_limited(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((npy.LONGEST + 1, 1), np.uint8))
    with pytest.raises(DataError, match=r"found shape \(10001, 1\)"):
        read(tmp_path / "a.npy", (None, 1))
    assert len(read(tmp_path / "a.npy", (10_001, 1))) == 10_001
    with pytest.raises(DataError, match="3 dimensions"):
        npy_shape(tmp_path / "a.npy", tile="7", what="an array", rank=3)
