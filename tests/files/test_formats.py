"""What a file is, by its first bytes."""

import bz2
import gzip
import io
import lzma
import zipfile

import h5py
import numpy as np
import pytest
import rasterio

from omnisat_jax.errors import DataError
from omnisat_jax.files.formats import form_of, unreadable
from omnisat_jax.files.geotiff import open_geotiff
from omnisat_jax.files.hdf5 import open_hdf5
from omnisat_jax.files.npy import npy_shape, read_npy


def image(driver, path):
    with rasterio.open(path, "w", driver=driver, count=1, height=16, width=16, dtype="uint8") as target:
        target.write(np.ones((1, 16, 16), np.uint8))
    return path.read_bytes()


def archive():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as target:
        target.writestr("x", "x")
    return content.getvalue()


def hdf5(path):
    with h5py.File(path, "w") as target:
        target["x"] = 1
    return path.read_bytes()


def npy(path):
    np.save(path, np.ones(3))
    return path.read_bytes()


# name: (content, from the path of a file that may be written to, what it is, what to do)
FORMS = {
    "PNG": (lambda path: image("PNG", path), "PNG image", "Convert"),
    "JPEG": (lambda path: image("JPEG", path), "JPEG image", "Convert"),
    "HDF5": (hdf5, "HDF5", "Convert"),
    "TIFF": (lambda path: image("GTiff", path), "TIFF image", ""),
    "NumPy": (lambda path: npy(path.with_suffix(".npy")), "NumPy", ""),
    "gzip": (lambda _: gzip.compress(b"x"), "gzip", "Unpack"),
    "bzip2": (lambda _: bz2.compress(b"x"), "bzip2", "Unpack"),
    "xz": (lambda _: lzma.compress(b"x"), "xz", "Unpack"),
    "zip": (lambda _: archive(), "zip archive", "Unpack"),
    "Git LFS": (lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS", "git lfs pull"),
    "HTML": (lambda _: b"\n<!doctype HTML><title>Login", "web page", "download it again"),
    "XML": (lambda _: b"\xef\xbb\xbf<?xml version='1.0'?><Error>", "web page or XML", "download it again"),
    "nothing": (lambda _: b"", "empty", ""),
    "zeros": (lambda _: bytes(100), "zeros only", ""),
    "anything else": (lambda _: b"some text", "", ""),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_file_is_known_by_its_first_bytes(name, tmp_path):
    make, text, advice = FORMS[name]
    path = tmp_path / "x.tif"
    path.write_bytes(make(tmp_path / "made"))
    found = form_of(path)
    assert text in found.text and bool(text) == bool(found.text) and advice in found.advice and bool(advice) == bool(found.advice)


def test_what_a_library_says_counts_for_its_own_format(tmp_path):
    (tmp_path / "x.tif").write_bytes(image("GTiff", tmp_path / "made.tif"))
    assert unreadable(tmp_path / "x.tif", ValueError("a bad tag"), "it is a TIFF image", "Restore it.")[0].endswith("bytes (a bad tag)")
    assert form_of(tmp_path / "missing").text == ""


def opened(path):
    with open_geotiff(path):
        pass


def opened_hdf5(path):
    with open_hdf5(path, tile="t"):
        pass


@pytest.mark.parametrize(
    "read",
    [opened, opened_hdf5, lambda path: npy_shape(path, tile="t", what="labels", rank=1), lambda path: read_npy(path, tile="t", what="labels", shape=(3,), kinds="f")],
)
def test_every_reader_says_what_it_was_given(read, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(b"x"))
    with pytest.raises(DataError, match=r"it is a file compressed by gzip\)\. Unpack it first\."):
        read(path)
