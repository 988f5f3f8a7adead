"""Records that only pre-training uses: refused unless their sensors are those of the main data, and mixed with it exactly."""

import collections
import dataclasses

import jax
import numpy as np
import pytest
from rich.console import Console

from data.pastis.simulated import simulate
from data.preparation.options import PreparationOptions
from data.preparation.preparing import prepare_folder
from omnisat_jax import batch as batches
from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.experiment.context import make_run_context, open_additional
from omnisat_jax.input import pipeline
from omnisat_jax.input.additional import AdditionalTiles, need_same_units
from omnisat_jax.input.spec import resolve_input_spec
from omnisat_jax.input.transforms import MakeBatch
from omnisat_jax.records.reader import Records
from tests.conftest import tiny
from tests.input.test_pipeline import assert_same, take


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Records of tiles without labels, of 24 px with S2 alone, and of 8 px with S2 and SPOT; the main ones have 16 px and four sensors."""
    found = []
    for index, (side, lacking) in enumerate([(24, ("DATA_S1A", "DATA_S1D", "DATA_SPOT")), (8, ("DATA_S1A", "DATA_S1D"))]):
        folder = tmp_path_factory.mktemp("others")
        root = simulate(folder / "raw", tiles=5, tile_size=side, seed=1 + index)
        for name in ("ANNOTATIONS", *lacking):
            (root / name).rename(folder / name)
        prepare_folder("pastis", root, folder / "out", "", PreparationOptions(unlabelled="pretrain"), Console(quiet=True))
        found.append(Records(folder / "out"))
    return found


def spec_of(records, others, **changes):
    return resolve_input_spec(schema.parse(tiny(**changes)), records.info, {str(other.root): other.info for other in others})


def test_tiles_are_cut_to_one_size(records, others):
    alone, larger, both = (spec_of(records, chosen) for chosen in ((), others[:1], others))
    assert alone.pretrain == alone.train and alone.pretrain_crop == alone.crop == 4 and alone.additional_grids == ()
    assert larger.pretrain == alone.train and larger.additional_grids == (6,)
    assert (both.pretrain_crop, both.additional_grids, both.train, both.evaluation) == (2, (6, 2), alone.train, alone.evaluation)
    assert both.pretrain.labels == (8, 8) and [m.shape for m in both.pretrain.modalities if m.name == "spot"] == [(80, 80, 3)]


def changed(info, **modalities):
    new = {name: dataclasses.replace(info.modalities["s2"], **changes) for name, changes in modalities.items()}
    return dataclasses.replace(info, modalities=new)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda info: changed(info, s2={}, thermal={}), r"expected sensors of the main data \(s2, s1a, s1d, spot, location\), found thermal"),
        (lambda info: changed(info, s2={"kind": "image"}), "s2: expected kind series, as in the main data, found image"),
        (lambda info: changed(info, s2={"bands": tuple("0123456789")}), "s2: expected bands B02 B03 .*, as in the main data, found 0 1 2"),
        (lambda info: changed(info, s2={"dtype": "float16"}), "s2: expected dtype int16, as in the main data, found float16 .data.float16"),
        (lambda info: changed(info, s2={"resolution": 20.0}), "s2: expected pixels of 10 m, as in the main data, found 20 m"),
        (lambda info: changed(info, s2={"resolution": 0.0}), "s2: expected pixels of 10 m, found records that do not say .*; prepare them again"),
        (lambda info: changed(info, s2={"shape": (24, 20, 10)}), "s2: expected square tiles of a multiple of 4 px .its patch., found 24x20"),
        (lambda info: changed(info, s2={"shape": (26, 26, 10)}), "s2: expected square tiles of a multiple of 4 px .its patch., found 26x26"),
        (lambda info: dataclasses.replace(info, modalities={"location": info.modalities["location"]}), "expected at least one of the sensors of the run"),
    ],
)  # fmt: skip
def test_other_sensors_are_refused(records, others, change, message):
    config = schema.parse(tiny())
    with pytest.raises(UserError, match=f"data.pretrain_dirs: more: {message}"):
        resolve_input_spec(config, records.info, {"more": change(others[0].info)})


def test_tiles_of_other_ground_and_other_scales_are_refused(records, others):
    config, info = schema.parse(tiny()), others[1].info
    spot = dataclasses.replace(info.modalities["spot"], shape=(160, 160, 3))
    with pytest.raises(UserError, match="expected tiles of the same ground for every sensor, found patches per side: .*'s2': 2, 'spot': 4"):
        resolve_input_spec(config, records.info, {"more": dataclasses.replace(info, modalities=info.modalities | {"spot": spot})})
    declared = {"scale": (1e-4,) * 10, "offset": (0.0,) * 10}
    main = dataclasses.replace(records.info, modalities=records.modalities | {"s2": dataclasses.replace(records.modalities["s2"], **declared)})
    resolve_input_spec(config, main, {"more": info})  # one that does not declare a scale is compared by its statistics
    with pytest.raises(UserError, match="s2: expected scale .0.0001, .*, as in the main data, found .0.001, "):
        resolve_input_spec(config, main, {"more": changed(others[0].info, s2={**declared, "scale": (1e-3,) * 10})})


def test_values_of_another_unit_are_refused(records, others):
    statistics = records.statistics(records.parts)
    need_same_units(others[0], statistics)
    reflectance = {name: {key: [value / 10_000 for value in values] for key, values in entry.items()} for name, entry in statistics.items()}
    with pytest.raises(UserError, match="s2: expected values of band B02 in the unit of the main data, whose standard deviation is"):
        need_same_units(others[0], reflectance)


def examples(records, others, parts=("fold_1", "fold_2")):
    """What pre-training mixes, and the layout of its batches."""
    spec = spec_of(records, others)
    whole = MakeBatch(spec.pretrain, spec.grid, spec.pretrain_crop, "2018-09-01", random=True, augment=True, ignore=19)
    stored, first = {m.name: records.modalities[m.name] for m in spec.pretrain.modalities}, len(records.tile_ids)
    found = [pipeline.Examples(records.every_tile(parts), whole)]
    for other, grid in zip(others, spec.additional_grids, strict=True):
        found.append(pipeline.Examples(AdditionalTiles(other, stored, first), dataclasses.replace(whole, grid=grid)))
        first += len(other.tile_ids)
    return found, spec.pretrain


def test_examples_have_the_form_of_the_main_data(records, others):
    folders, layout = examples(records, others)
    batch = next(iter(pipeline.mixture(folders, (), seed=0, batch_size=14)))
    batches.check_batch(batch, layout, 14)
    assert sorted(batch["tile_index"]) == sorted([*(e["tile_index"] for e in folders[0].source), *range(10, 20)])
    more = batch["tile_index"] >= 10
    assert batch["s2"]["present"].all() and batch["s1a"]["present"].tolist() == (~more).tolist()
    assert batch["spot"]["present"].tolist() == ((batch["tile_index"] < 10) | (batch["tile_index"] >= 15)).tolist()
    assert (batch["labels"][more] == 19).all()
    assert not batch["s1a"]["valid"][more].any() and (batch["s2"]["values"][more] != 0).any((1, 2, 3, 4)).all()


def test_every_tile_comes_once_per_epoch_without_weights(records, others):
    folders, _ = examples(records, others)
    seen = collections.Counter()
    for batch in take(iter(pipeline.mixture(folders, (), seed=4, batch_size=7)), 4):
        seen.update(batch["tile_index"].tolist())
    assert len(seen) == 14 and set(seen.values()) == {2}


def test_weights_are_kept_in_every_stretch(records, others):
    folders, _ = examples(records, others)
    counts = np.zeros(3)
    for batch in take(iter(pipeline.mixture(folders, (2.0, 1.0, 1.0), seed=4, batch_size=8)), 5):
        found = np.bincount(np.digitize(batch["tile_index"], [10, 15]), minlength=3)
        assert found.tolist() == [4, 2, 2]
        counts += found
    assert counts.tolist() == [20, 10, 10]


@pytest.mark.parametrize("weights", [(), (1.0, 2.0, 0.5)], ids=["by size", "by weight"])
def test_mixed_batches_do_not_depend_on_processes_and_resume_at_any_step(records, others, weights):
    folders, _ = examples(records, others)
    whole = take(iter(pipeline.mixture(folders, weights, seed=3, batch_size=4)), 5)
    for rows in ((0, 1), (2, 3), (0, 2), (1, 3)):
        share = take(iter(pipeline.mixture(folders, weights, seed=3, batch_size=4, rows=rows)), 5)
        for found, expected in zip(share, whole, strict=True):
            assert_same(found, jax.tree.map(lambda x: x[list(rows)], expected))  # noqa: B023
    for found, expected in zip(take(pipeline.start_at(pipeline.mixture(folders, weights, seed=3, batch_size=4), 3), 2), whole[3:], strict=True):
        assert_same(found, expected)
    other = take(iter(pipeline.mixture(folders, weights, seed=5, batch_size=4)), 5)
    assert any((a["tile_index"] != b["tile_index"]).any() for a, b in zip(whole, other, strict=True))


def context_of(config, records, folder, console):
    config = schema.parse(config)
    return make_run_context(config, folder, records, open_additional(config, console), console)


def test_folders_are_opened_for_pretraining_only_and_identify_the_run(records, others, tmp_path, console):
    config = tiny(**{"data.pretrain_dirs": ", ".join(str(other.root) for other in others)})
    context = context_of(config, records, tmp_path, console)
    assert [other.root for other in context.additional] == [other.root for other in others]
    turned = tiny(**{"data.pretrain_dirs": ",".join(str(other.root) for other in others[::-1])})
    identities = {context.fingerprint, context_of(turned, records, tmp_path, console).fingerprint, records.fingerprint}
    assert len(identities) == 3
    config.pretrain.steps = 0
    context = context_of(config, records, tmp_path, console)
    assert context.additional == () and context.fingerprint == records.fingerprint


def test_tested_tiles_are_refused(records, tmp_path, console):
    config = tiny(**{"data.pretrain_dirs": str(records.root)})
    with pytest.raises(UserError, match=r"expected no tile on which the run is validated or tested, found the .* image of tile (10003|10008) in tile \1 of"):
        context_of(config, records, tmp_path, console)
    config.data.pretrain_dirs = f"{tmp_path}/nowhere"
    with pytest.raises(UserError, match="data.pretrain_dirs: expected folders of records .*, found nothing at"):
        context_of(config, records, tmp_path, console)


def test_tiles_on_tested_ground_are_refused_unless_simulated(records, others, tmp_path, console):
    """Every simulation lies at the same places: its first five tiles, of which 10003 and 10004 are tested here, at one."""
    measured = []
    for found in (records, others[0]):
        measured.append(Records(found.root))
        measured[-1].info = dataclasses.replace(found.info, simulated=False)
    config = schema.parse(tiny())
    make_run_context(config, tmp_path, records, (others[0],), console)
    with pytest.raises(UserError, match="found 10 pairs of tiles on the same ground, first tile 10003 and tile 10000"):
        make_run_context(config, tmp_path, measured[0], (measured[1],), console)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.pretrain_dirs": "a,,b"}, "data.pretrain_dirs: expected distinct folders joined by commas, found 'a,,b'"),
        ({"data.pretrain_dirs": "a,a"}, "data.pretrain_dirs: expected distinct folders joined by commas, found 'a,a'"),
        ({"data.pretrain_dirs": "a", "data.pretrain_weights": (1.0,)}, "one of each of the 1 folders of data.pretrain_dirs, found 1"),
        ({"data.pretrain_weights": (1.0,)}, "one of each of the 0 folders of data.pretrain_dirs, found 1"),
        ({"data.pretrain_dirs": "a", "data.pretrain_weights": (1.0, 0.0)}, "data.pretrain_weights: expected"),
    ],
)
def test_folders_and_weights_must_fit(changes, message):
    with pytest.raises(schema.ConfigError, match=message):
        schema.parse(tiny(**changes))
