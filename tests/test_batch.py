"""The structure of a batch, its check, and normalization with unknown values masked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.batch import BatchLayout, Known, ModalityLayout, check_batch, known_only, normalise, presence
from omnisat_jax.errors import UserError

LAYOUT = BatchLayout(
    (
        ModalityLayout("s2", 3, (4, 4, 2), "int16"),
        ModalityLayout("spot", 0, (8, 8, 3), "uint8"),
        ModalityLayout("location", 0, (2,), "float32"),
    ),
    (4, 4),
    "uint8",
)
EXPECTED = {
    "s2": {"values": ("int16", 5, 3, 4, 4, 2), "dates": ("int32", 5, 3), "valid": ("bool", 5, 3), "present": ("bool", 5)},
    "spot": {"values": ("uint8", 5, 8, 8, 3), "present": ("bool", 5)},
    "location": {"values": ("float32", 5, 2), "present": ("bool", 5)},
    "labels": ("uint8", 5, 4, 4),
    "tile_index": ("int32", 5),
    "weight": ("float32", 5),
}


def zeros(size=5):
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), LAYOUT.abstract(size))


def test_the_layout_has_every_array_with_its_dtype():
    found = jax.tree.map(lambda leaf: (str(leaf.dtype), *leaf.shape), LAYOUT.abstract(5))
    assert found == EXPECTED


def test_the_layout_takes_a_sharding():
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    assert all(leaf.sharding == sharding for leaf in jax.tree.leaves(LAYOUT.abstract(2, sharding)))


def test_a_batch_of_the_layout_passes():
    check_batch(zeros(), LAYOUT, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b["s2"].pop("valid"), r"batch\['s2'\]\['valid'\]: expected bool \(5, 3\), found nothing"),
        (lambda b: b["spot"].update(values=b["spot"]["values"][:4]), r"expected uint8 \(5, 8, 8, 3\), found uint8 \(4, 8, 8, 3\)"),
        (lambda b: b["s2"].update(values=b["s2"]["values"].astype(np.float32)), "expected int16 .*, found float32"),
        (lambda b: b.update(more=np.zeros(5)), r"batch\['more'\]: not part of the batch layout"),
    ],
    ids=["missing", "shape", "dtype", "more"],
)
def test_another_batch_is_refused(change, message):
    batch = zeros()
    change(batch)
    with pytest.raises(UserError, match=message):
        check_batch(batch, LAYOUT, 5)


def series(dtype, unknown, seed=0):
    """A random series with unknown pixels, an unknown date, an invalid date and an absent tile."""
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 100, (4, 3, 2, 2, 2)).astype(dtype)
    values[0, 0, 0, 0, 1] = values[1, 1] = values[3] = unknown
    valid, present = np.ones((4, 3), bool), np.ones(4, bool)
    valid[1, 0], present[2] = False, False
    return {"values": values, "dates": rng.integers(1, 300, (4, 3)).astype(np.int32), "valid": valid, "present": present}


@pytest.mark.parametrize(("dtype", "unknown"), [("int16", -(2**15)), ("float32", -3.4e38), ("float32", np.nan), ("float16", np.inf)])
def test_normalisation_equals_numpy(dtype, unknown):
    entry = series(dtype, unknown)
    mean, std = np.array([3.0, 5.0]), np.array([2.0, 7.0])
    out = normalise({"s2": jax.tree.map(jnp.asarray, entry)}, {"s2": {"mean": mean, "std": std}}, ["s2"])["s2"]
    known = (entry["values"] != unknown) & ~np.isnan(entry["values"].astype(np.float32))
    valid = entry["valid"] & entry["present"][:, None] & known.any((2, 3, 4))
    expected = np.where(known & valid[:, :, None, None, None], (entry["values"].astype(np.float32) - mean) / std, 0)
    np.testing.assert_allclose(out["values"], expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(out["valid"], valid)
    np.testing.assert_array_equal(out["dates"], np.where(valid, entry["dates"], 0))
    assert out["present"].tolist() == [True, True, False, False] and out["values"].dtype == jnp.float32
    assert valid.any(1).tolist() == out["present"].tolist()


def test_an_image_without_a_known_value_is_absent():
    values = np.ones((3, 2, 2, 1), np.float32)
    values[1], values[0, 0, 0] = np.nan, np.inf
    entry = {"values": jnp.asarray(values), "present": jnp.asarray([True, True, False])}
    out = normalise({"spot": entry}, {"spot": {"mean": [0.5], "std": [0.5]}}, ["spot"])["spot"]
    assert out["present"].tolist() == [True, False, False]
    np.testing.assert_array_equal(out["values"][0, :, :, 0], [[0, 1], [1, 1]])
    assert not out["values"][1:].any()


def test_half_a_location_is_none():
    entry = {"values": jnp.asarray([[7.0, 51.0], [7.0, jnp.nan]]), "present": jnp.ones(2, bool)}
    out = normalise({"location": entry}, {"location": {}}, ["location"])["location"]
    assert out["present"].tolist() == [True, False] and out["values"].tolist() == [[7.0, 51.0], [0.0, 0.0]]


def test_masking_is_done_once_and_a_changed_copy_is_masked_again():
    known = known_only(jax.tree.map(jnp.asarray, series("float32", np.nan)))
    assert known_only(known) is known
    copy = known | {"values": jnp.full_like(known["values"], jnp.nan)}
    assert not isinstance(copy, Known) and not known_only(copy)["present"].any()


def test_masked_entries_pass_through_transformations_with_the_paths_of_a_dict():
    known = known_only(jax.tree.map(jnp.asarray, series("float32", np.nan)))
    mapped = jax.jit(lambda entry: jax.tree.map(lambda x: x, entry))(known)
    assert isinstance(mapped, Known) and mapped.keys() == known.keys()
    paths = [[jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(x)[0]] for x in (known, dict(known))]
    assert paths[0] == paths[1]


def test_presence_follows_the_order_of_the_names():
    batch = {"s2": jax.tree.map(jnp.asarray, series("float32", np.nan)), "spot": {"values": jnp.ones((4, 2, 2, 1)), "present": jnp.ones(4, bool)}}
    assert presence(batch, ["spot", "s2"]).tolist() == [[True, True], [True, True], [True, False], [True, False]]
