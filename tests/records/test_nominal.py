"""Nominal descriptions have the shapes of the complete datasets."""

import pytest

from configs import flair, pastis, treesat
from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.input.spec import resolve_input_spec
from omnisat_jax.records.nominal import nominal


@pytest.mark.parametrize(
    ("dataset", "config", "grid", "labels"),
    [("pastis", pastis.get_config("hd"), 32, (128, 128)), ("treesat", treesat.get_config("full"), 6, (15,)), ("flair", flair.get_config(), None, (512, 512))],
    ids=["pastis", "treesat", "flair"],
)
def test_the_configurations_of_the_complete_datasets_fit(dataset, config, grid, labels):
    spec = resolve_input_spec(schema.parse(config), nominal(dataset))
    assert spec.evaluation.labels == labels and not spec.dropped
    assert grid is None or spec.grid == grid


def test_dense_labels_have_a_side():
    for dataset in ("pastis", "treesat", "flair"):
        info = nominal(dataset)
        assert (info.task == "segment") == bool(info.label_side) and len(set(info.classes)) == len(info.classes)


def test_other_datasets_are_refused():
    with pytest.raises(UserError, match="dataset: expected pastis, treesat or flair, found 'tiles'"):
        nominal("tiles")
