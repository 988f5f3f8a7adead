"""What a file is by its first bytes, whatever its name says: for messages about files that are not what they should be."""

import dataclasses
import pathlib

from omnisat_jax.errors import reason
from omnisat_jax.types import StrPath

_CONVERT = "Convert it first (gdal_translate)."
_UNPACK = "Unpack it first."
_WEB = "The download may have saved an error or login page instead of the file: download it again."
_FETCH = "It stands for a file that is kept elsewhere: fetch that (git lfs pull)."
# (first bytes, how many bytes precede them, what it is, what to do)
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", 0, "a PNG image", _CONVERT),
    (b"\xff\xd8\xff", 0, "a JPEG image", _CONVERT),
    (b"\0\0\0\x0cjP  ", 0, "a JPEG 2000 image", _CONVERT),
    (b"\xff\x4f\xff\x51", 0, "a JPEG 2000 image", _CONVERT),
    (b"GIF8", 0, "a GIF image", _CONVERT),
    (b"WEBP", 8, "a WebP image", _CONVERT),
    (b"\x89HDF\r\n\x1a\n", 0, "an HDF5 or netCDF file", _CONVERT),
    (b"CDF\x01", 0, "a netCDF file", _CONVERT),
    (b"CDF\x02", 0, "a netCDF file", _CONVERT),
    (b"<VRTDataset", 0, "a virtual raster (VRT)", _CONVERT),
    (b"II*\0", 0, "a TIFF image", ""),
    (b"MM\0*", 0, "a TIFF image", ""),
    (b"II+\0", 0, "a TIFF image", ""),
    (b"MM\0+", 0, "a TIFF image", ""),
    (b"\x93NUMPY", 0, "a NumPy array (.npy)", ""),
    (b"\x1f\x8b", 0, "a file compressed by gzip", _UNPACK),
    (b"BZh", 0, "a file compressed by bzip2", _UNPACK),
    (b"\xfd7zXZ\0", 0, "a file compressed by xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", 0, "a file compressed by Zstandard", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", 0, "a 7z archive", _UNPACK),
    (b"PK\x03\x04", 0, "a zip archive", _UNPACK),
    (b"ustar", 257, "a tar archive", _UNPACK),
    (b"version https://git-lfs", 0, "a pointer of Git LFS", _FETCH),
    (b"%PDF", 0, "a PDF document", ""),
    (b"SQLite format 3", 0, "an SQLite database, such as a GeoPackage", ""),
)
_PAGES = (b"<!doctype html", b"<html", b"<?xml")  # in any case of letters; XML is what storage services answer to what they refuse
_HEAD = 512


@dataclasses.dataclass(frozen=True)
class Form:
    """What a file is.

    Attributes:
      text: in words, or "" if it is not known.
      advice: what to do about it if something else was expected, or "".
    """

    text: str = ""
    advice: str = ""


def form_of(path: StrPath) -> Form:
    """What a file is by its first bytes. A file that cannot be read is not known."""
    try:
        with pathlib.Path(path).open("rb") as source:
            head = source.read(_HEAD)
    except OSError:
        return Form()
    if not head:
        return Form("it is empty")
    if not any(head):
        return Form("it begins with zeros only, as after a copy or download that was cut short")
    for bytes_, before, text, advice in _SIGNATURES:
        if head[before:].startswith(bytes_):
            return Form(f"it is {text}", advice)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return Form("it is a web page or XML", _WEB) if start.startswith(_PAGES) else Form()


def unreadable(path: StrPath, error: BaseException, own: str, advice: str) -> tuple[str, str]:
    """What is said about a file that a library could not read, and what to do.

    Args:
      path: the file, which exists.
      error: of the library.
      own: `Form.text` of the format that was expected; for such a file the reason of the library is more precise.
      advice: what to do if the file is of no known other format.
    """
    form = form_of(path)
    other = form.text if form.text and form.text != own else ""
    found = f"an unreadable file of {pathlib.Path(path).stat().st_size} bytes ({other or reason(error)})"
    return found, form.advice if other and form.advice else advice
