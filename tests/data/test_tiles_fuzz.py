"""Any folder of tiles gives a dataset or a DataError, and reading it changes nothing inside or outside."""

import contextlib
import copy
import json
import os
import pathlib

import pytest
from hypothesis import given, settings, strategies as st

from data.reading.datasets import open_dataset, reader_of
from data.reading.raw import DataError
from tests.data.test_tiles import DESCRIPTION, TILES, make

EXAMPLES = int(os.environ.get("OMNISAT_FUZZ", "100"))  # per test

names = st.one_of(st.text(max_size=12), st.sampled_from(["../x", "/tmp/x", "..", ".", "a/b", "\x1b[2J", "\ud800", "a" * 300, "labels", "im", "a", "C:\\x"]))
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.just(10**30), st.floats(), names)
values = st.recursive(scalars, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=4)), max_leaves=8)


def places_of(value, path=()):
    """The path of every entry of nested lists and objects."""
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from places_of(inner, (*path, key))


@st.composite
def mutated(draw):
    """dataset.json with one to three entries replaced, removed, renamed or added, or its text truncated or deeply nested."""
    description = copy.deepcopy(DESCRIPTION)
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from([path for path in places_of(description) if path]))
        holder = description
        for key in parents:
            holder = holder[key]
        how = draw(st.sampled_from(["replace", "remove", "rename", "add"]))
        if how == "replace":
            holder[last] = draw(values)
        elif how == "remove":
            del holder[last]
        elif isinstance(holder, list):
            holder.insert(0, draw(values))
        else:
            holder[draw(names)] = holder.pop(last) if how == "rename" else draw(values)
    text = json.dumps(description)
    end = draw(st.sampled_from([None, None, None, "cut", "deep"]))
    return text[: draw(st.integers(0, len(text)))] if end == "cut" else "[" * 100_000 + text if end == "deep" else text


def read_everything(root):
    """Reads all tiles; the only error is a DataError."""
    try:
        dataset = open_dataset("tiles", root)
        list(reader_of("tiles").raw_files(root))
    except DataError as error:
        assert str(error).isprintable()
        return
    for tile in [tile for tiles in dataset.parts.values() for tile in tiles]:
        example = dataset.read(tile, lambda name, error: {"values": ()} if name != "labels" else {"labels": ()})
        assert set(example) == {"tile_id", "labels", "parcels", "labelled", "remarks", *dataset.modalities} or not len(example["labels"])


def contents(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(pathlib.Path(folder).rglob("*"))}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with intact tiles, and its contents."""
    return Base(tmp_path_factory.mktemp("base"))


class Base:
    def __init__(self, folder):
        self.root = make(folder / "tiles")
        self.folder, self.good = folder, contents(folder)


@contextlib.contextmanager
def damaged(base, path, content):
    """Replaces a file while the body runs, then checks that only this file differs, and restores it."""
    path.write_bytes(content)
    try:
        yield
        assert contents(base.folder) == base.good | {path: content}
    finally:
        path.write_bytes(base.good[path])


@given(text=mutated())
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_description_gives_a_dataset_or_a_sentence(base, text):
    with damaged(base, base.root / "dataset.json", text.encode()):
        read_everything(base.root)


@given(data=st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_bytes_of_a_tile_give_a_dataset_or_a_sentence(base, data):
    root = base.root
    path = root / data.draw(st.sampled_from(["labels", "im", "s1"])) / f"{data.draw(st.sampled_from(TILES[:2]))}.tif"
    content = bytearray(path.read_bytes())
    # Headers and tags are at the start and the end of these small files.
    near = st.one_of(st.integers(0, 300), st.integers(len(content) - 600, len(content) - 1)).filter(lambda i: 0 <= i < len(content))
    for position, byte in data.draw(st.lists(st.tuples(near, st.integers(0, 255)), max_size=6)):
        content[position] = byte
    end = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    with damaged(base, path, bytes(content[:end])):
        read_everything(root)
