"""Faults of prepared records of PASTIS, each made for real."""

import shutil

from tests.faults import breaking
from tests.faults.breaking import Fault

SERIES, OTHER = "frames/fold_2/s1a.npy", "frames/fold_3/s1a.npy"
SUMMARY, DESCRIPTION = "fold_1.json", "dataset.json"


def table(root):
    return next(path for path in sorted((root / "tiles" / "fold_1").rglob("*.array_record*")))


def file(path, function, kind, found):
    return Fault(lambda root: function(root / path), kind, path, found)


def _exchange(root):
    kept = root / "kept"
    for source, target in ((SERIES, "kept"), (OTHER, SERIES), ("kept", OTHER)):
        shutil.move(root / source, root / target)
    assert not kept.exists()


def _zero_half(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = b"\0" * len(content[len(content) // 2 :])
    path.write_bytes(bytes(content))


FAULTS = {
    "flipped bit in frames": file(SERIES, breaking.flip_bit, "changed", ""),
    "truncated frames": file(SERIES, breaking.truncate, "changed", "bytes"),
    "empty frames": file(SERIES, breaking.empty, "changed", "0 bytes"),
    "missing frames": file(SERIES, lambda path: path.unlink(), "gone", "no such file"),
    "pipe for frames": file(SERIES, breaking.fifo, "gone", "not a regular file"),
    "frames of another part": Fault(_exchange, "changed", "s1a.npy", ""),
    "damaged table": Fault(lambda root: _zero_half(table(root)), "changed", "", ""),
    "missing table": Fault(lambda root: table(root).unlink(), "gone", "", "no such file"),
    "statistics with a changed digit": file(SUMMARY, lambda path: path.write_text(path.read_text().replace("1", "2", 1)), "changed", ""),
    "truncated summary": file(SUMMARY, breaking.halve, "changed", ""),
    "missing summary": file(SUMMARY, lambda path: path.unlink(), "gone", "no such file"),
    "truncated description": file(DESCRIPTION, breaking.halve, "unreadable", "bytes"),
    "deeply nested description": file(DESCRIPTION, lambda path: path.write_text("[" * 100_000), "unreadable", ""),
    "description changed": file(DESCRIPTION, lambda path: path.write_text(path.read_text().replace("Meadow", "Maedow")), "changed", "checksum"),
    "part outside the folder": file(DESCRIPTION, lambda path: path.write_text(path.read_text().replace('"fold_1"', '"../fold_1"')), "changed", ""),
    "extra file": Fault(lambda root: shutil.copy(root / SERIES, root / "frames/fold_2/x.npy"), "unlisted", "x.npy", ""),
}
