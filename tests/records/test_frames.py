"""Frames are read one at a time, and any change of a file is noticed."""

import os

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from omnisat_jax.errors import UserError
from omnisat_jax.records.frames import FrameError, Frames, FrameStore, FrameWriter, checksums_path, count_frames, frames_path


def written(path, values):
    writer = FrameWriter(path, values.shape[1:], str(values.dtype))
    for frame in values:
        writer.write(frame)
    writer.close()


def test_frames_are_an_array(tmp_path):
    values = np.random.default_rng(0).normal(size=(7, 4, 4, 3)).astype(np.float32)
    path = tmp_path / "x.npy"
    written(path, values)
    np.testing.assert_array_equal(np.load(path), values)  # a plain .npy file
    frames = Frames(FrameStore(path, (4, 4, 3), "float32"), 2, 4)
    assert frames.shape == (4, 4, 4, 3) and len(frames) == 4
    for index in (slice(None), [3, 0], np.array([True, False, True, False]), 1, slice(0)):
        np.testing.assert_array_equal(frames[index], values[2:6][index])
    np.testing.assert_array_equal(np.asarray(frames), values[2:6])


def test_a_full_disk_is_one_sentence():
    writer = FrameWriter("/dev/full", (64, 64, 3), "float32")
    with pytest.raises(UserError, match=r"/dev/full: cannot be written \(the disk is full\)"):
        writer.write(np.zeros((64, 64, 3), np.float32))
        writer.close()
    writer.abandon()


def test_damaged_frames_are_named(tmp_path):
    path = tmp_path / "x.npy"
    written(path, np.zeros((5, 4, 4, 3), np.float32))
    content = path.read_bytes()
    for damage, message in ((content[:-1], "of 1088 bytes"), (b"", "no valid .npy header"), (b"x" * 500, "no valid .npy header")):
        path.write_bytes(damage)
        with pytest.raises(ValueError, match=f"x.npy.*{message}.*prepare them again"):
            FrameStore(path, (4, 4, 3), "float32")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"expected frames of int16 \(4, 4, 3\), found float32"):
        FrameStore(path, (4, 4, 3), "int16")


@hypothesis.given(byte=st.integers(0, 5 * 96 - 1), bit=st.integers(0, 7))
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], deadline=None)
def test_any_flipped_bit_is_noticed_when_the_frame_is_read(tmp_path, byte, bit):
    path = tmp_path / "x.npy"
    values = np.arange(5 * 48, dtype=np.int16).reshape(5, 4, 4, 3)
    written(path, values)
    content = bytearray(path.read_bytes())
    content[byte - 5 * 96] ^= 1 << bit
    path.write_bytes(content)
    frames = Frames(FrameStore(path, (4, 4, 3), "int16"), 0, 5)
    for position in range(5):
        if position == byte // 96:
            with pytest.raises(ValueError, match=rf"x.npy.*changed bytes in frame {position} .*prepare them again"):
                frames[position]
        else:
            np.testing.assert_array_equal(frames[position], values[position])


def test_frames_without_their_checksums_are_not_read(tmp_path):
    path = tmp_path / "x.npy"
    written(path, np.zeros((5, 4, 4, 3), np.float32))
    other = checksums_path(path)
    whole = other.read_bytes()
    np.save(other, np.zeros(4, np.uint64))
    with pytest.raises(ValueError, match=r"no valid checksums in x.xxh3.npy \(shape \(4,\)\)"):
        FrameStore(path, (4, 4, 3), "float32")
    for damage in (whole[:-1], b""):
        other.write_bytes(damage)
        with pytest.raises(ValueError, match="no valid checksums in x.xxh3.npy"):
            FrameStore(path, (4, 4, 3), "float32")
    other.unlink()
    with pytest.raises(ValueError, match="no valid checksums in x.xxh3.npy"):
        FrameStore(path, (4, 4, 3), "float32")


def test_only_indexed_frames_are_read(tmp_path, monkeypatch):
    path, read = tmp_path / "x.npy", []
    written(path, np.zeros((5, 4, 4, 3), np.int16))
    frames, preadv = Frames(FrameStore(path, (4, 4, 3), "int16"), 1, 3), os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, buffers, at: read.append(at) or preadv(file, buffers, at))
    frames[2], frames[[]], frames.shape, len(frames)
    assert len(read) == 1


def test_short_reads_are_continued(tmp_path, monkeypatch):
    path, preadv = tmp_path / "x.npy", os.preadv
    values = np.arange(96, dtype=np.int16).reshape(2, 4, 4, 3)
    written(path, values)
    store = FrameStore(path, (4, 4, 3), "int16")
    monkeypatch.setattr(os, "preadv", lambda file, buffers, at: preadv(file, [buffers[0][:7]], at))
    np.testing.assert_array_equal(Frames(store, 0, 2)[:], values)


def test_a_file_that_shrinks_while_it_is_open_is_noticed(tmp_path):
    path = tmp_path / "x.npy"
    written(path, np.zeros((2, 4, 4, 3), np.int16))
    store = FrameStore(path, (4, 4, 3), "int16")
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(FrameError, match="found the end of the file in frame 1. Delete the folder of records"):
        store.read_into(1, np.empty((4, 4, 3), np.int16))


def test_an_unfinished_file_has_no_frames(tmp_path):
    writer = FrameWriter(tmp_path / "x.npy", (4, 4, 3), "int16")
    writer.write(np.zeros((4, 4, 3), np.int16))
    writer.abandon()
    assert count_frames(tmp_path / "x.npy") in (0, None)
    (tmp_path / "y.npy").write_bytes(b"x")
    assert count_frames(tmp_path / "y.npy") is None


def test_paths_of_frames(tmp_path):
    path = frames_path(tmp_path, "fold_1", "s2")
    assert path == tmp_path / "frames" / "fold_1" / "s2.npy" and checksums_path(path).name == "s2.xxh3.npy"
