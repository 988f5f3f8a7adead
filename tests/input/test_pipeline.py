"""Pipelines give the same examples on any number of processes, and resume at any step."""

import grain
import jax
import numpy as np
import pytest

from omnisat_jax import batch as batches
from omnisat_jax.input import pipeline
from omnisat_jax.records.reader import TileSource
from tests.input.transform import make_batch


def take(iterator, count):
    return [next(iterator) for _ in range(count)]


def flatten(tree, prefix=""):
    if isinstance(tree, dict):
        return {k: v for key, value in tree.items() for k, v in flatten(value, f"{prefix}/{key}").items()}
    return {prefix: tree}


def assert_same(a, b):
    a, b = flatten(a), flatten(b)
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def test_batches_have_the_declared_layout(records, config):
    transform, layout = make_batch(records, config)
    data = pipeline.training(records.source(("fold_1",)), transform, seed=0, batch_size=4)
    batch = next(iter(data))
    batches.check_batch(batch, layout, 4)
    batch["s2"]["dates"] = batch["s2"]["dates"].astype(np.int64)
    with pytest.raises(ValueError, match=r"\['s2'\]\['dates'\].*int32.*int64"):
        batches.check_batch(batch, layout, 4)


@pytest.mark.parametrize("split", [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0,), (1,), (2,), (3,))])
def test_rows_do_not_depend_on_the_processes_that_read_them(records, config, split):
    """Every row of every step, augmentation included, is the same on any number of processes and any order of devices."""
    transform, _ = make_batch(records, config)
    source = records.source(("fold_1", "fold_2", "fold_3"))
    whole = take(iter(pipeline.training(source, transform, seed=3, batch_size=4)), 4)
    for rows in split:
        share = take(iter(pipeline.training(source, transform, seed=3, batch_size=4, rows=rows)), 4)
        for found, expected in zip(share, whole):
            assert_same(found, jax.tree.map(lambda x: x[list(rows)], expected))  # noqa: B023


def test_a_run_resumes_at_any_step(records, config):
    transform, _ = make_batch(records, config)
    data = pipeline.training(records.source(("fold_1", "fold_2")), transform, seed=1, batch_size=2)
    whole = take(iter(data), 6)
    for batch, expected in zip(take(pipeline.start_at(data, 4), 2), whole[4:]):
        assert_same(batch, expected)


@pytest.mark.parametrize(("batch_size", "split"), [(1, [(0,)]), (4, [(0, 1, 2, 3)]), (4, [(0, 1), (2, 3)]), (4, [(0, 2), (1, 3)])])
def test_evaluation_yields_every_tile_once(records, config, batch_size, split):
    transform, layout = make_batch(records, config, training=False)
    source = records.source(records.parts)
    seen, lengths = [], set()
    for rows in split:
        got = list(pipeline.evaluation(source, transform, batch_size=batch_size, rows=rows))
        lengths.add(len(got))
        for batch in got:
            batches.check_batch(batch, layout, len(rows))
            seen += batch["tile_index"][batch["weight"] > 0].tolist()
    assert sorted(seen) == list(range(10)) and len(lengths) == 1


def test_threads_do_not_change_batches(records, config):
    transform, _ = make_batch(records, config)
    source = records.source(("fold_1", "fold_2"))
    one, many = (
        take(iter(pipeline.training(source, transform, seed=1, batch_size=2, options=grain.ReadOptions(threads, 2))), 3) for threads in (1, 8)
    )
    for found, expected in zip(one, many):
        assert_same(found, expected)


def test_training_needs_tiles(records, config):
    transform, _ = make_batch(records, config)
    with pytest.raises(ValueError, match="the training parts have no tiles"):
        pipeline.training(TileSource(records, ("fold_1",), []), transform, seed=0, batch_size=1)


def test_batches_must_fit_into_memory(records, config, monkeypatch):
    transform, layout = make_batch(records, config)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(layout.abstract(2)))
    monkeypatch.setattr("os.sysconf", lambda name: 1 if name == "SC_PAGE_SIZE" else 3 * size)
    pipeline.need_memory(transform, rows=2, batches=3)
    with pytest.raises(ValueError, match="4 batches of 2 samples: expected at most .* GB of memory of this machine"):
        pipeline.need_memory(transform, rows=2, batches=4)
