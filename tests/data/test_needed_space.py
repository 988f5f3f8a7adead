"""The disk space that records are expected to need, before they are written."""

import shutil
import types

import numpy as np
import pytest

from data.preparation import writing
from data.preparation.options import PreparationOptions
from data.reading.raw import RawModality
from omnisat_jax.errors import UserError


@pytest.mark.parametrize(
    ("kind", "dtype", "options", "factor"),
    [
        ("image", "uint8", {}, 1.0), ("image", "int16", {}, 1.0), ("image", "float32", {}, 1.0), ("image", "float32", {"float16": True}, 0.5),
        ("series", "int16", {"float16": True}, 1.0), ("series", "float32", {}, 1.0), ("series", "float32", {"float16": True}, 0.5),
    ],
)  # fmt: skip
def test_space_is_that_of_the_stored_numbers(kind, dtype, options, factor, tmp_path, monkeypatch):
    shape, dates = (16, 16, 3), 5
    values = np.zeros((dates, *shape) if kind == "series" else shape, dtype)
    (tmp_path / "tile").write_bytes(values.tobytes())
    modality = RawModality(kind, shape, dtype, tuple("abc"))
    dataset = types.SimpleNamespace(modalities={"x": modality}, path_of=lambda tile, name: tmp_path / "tile")
    free = round(100 * factor * values.nbytes)
    for room in (free, free - 1):
        monkeypatch.setattr(writing.shutil, "disk_usage", lambda folder, room=room: shutil._ntuple_diskusage(0, 0, room))
        if room == free:
            writing._need_space(dataset, tmp_path, PreparationOptions(**options), ["t"] * 100)
            continue
        with pytest.raises(UserError, match="free disk for 100 tiles"):
            writing._need_space(dataset, tmp_path, PreparationOptions(**options), ["t"] * 100)
