"""Maps of a model that gives back what it sees: every pixel is covered once, in place, however the map is cut."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from omnisat_jax.errors import UserError
from omnisat_jax.predict.folder import NO_DATA, MapFolder
from omnisat_jax.predict.options import PredictOptions
from omnisat_jax.predict.plan import make_plan
from omnisat_jax.predict.region import Region
from omnisat_jax.predict.run import make_map
from omnisat_jax.shards import Shard
from tests.predict.region import Identity, put, scene, spec


def region(*series, images=(), **more):
    return Region.from_arguments(list(series), list(images), more.pop("scl", {}), **more)


def joined(folder: MapFolder, name="class"):
    grid = folder.info.grid
    first = next(iter(folder.blocks()))[1][name]
    out = np.zeros((*first.shape[:-2], grid.height, grid.width), first.dtype)
    for block, arrays in folder.blocks():
        out[..., block.top : block.top + block.height, block.left : block.left + block.width] = arrays[name]
    return out


@hypothesis.given(
    height=st.integers(1, 40), width=st.integers(1, 40), overlap=st.sampled_from([0, 0.25, 0.5, 0.7]), window=st.integers(1, 6),
    block=st.integers(3, 50), batch=st.integers(1, 5),
)  # fmt: skip
@hypothesis.settings(max_examples=30, deadline=None)  # each is a map
def test_the_input_is_reproduced(tmp_path_factory, height, width, overlap, window, block, batch):
    here = tmp_path_factory.mktemp("map")
    classes = scene(height, width)
    put(here / "s" / "x_20210105.tif", classes.astype(np.float32))
    options = PredictOptions(overlap=overlap, block=block, batch=batch)
    folder = make_map(Identity(window=window), region(f"s={here / 's'}"), here / "out", options)
    survey = make_plan(Identity(window=window), region(f"s={here / 's'}"), options).surveys["s"]
    assert survey.known == pytest.approx(height * width / (-(-height // 2) * -(-width // 2) * 4)) or not survey.whole or overlap
    found = joined(folder)
    assert found.shape == (-(-height // 2) * 2, -(-width // 2) * 2)
    assert (found[:height, :width] == classes).all()
    assert (found[height:] == NO_DATA).all() and (found[:, width:] == NO_DATA).all()
    assert (joined(folder, "confidence")[:height, :width] == 100).all()
    assert (joined(folder, "used")[:height, :width] == 1).all() and not joined(folder, "used")[height:].any()
    assert (joined(folder, "dates")[0, :height, :width] == 1).all()


def random_model(seed=0):
    """Probabilities that depend on the content of the whole window, so that windows disagree."""

    class Random(Identity):
        def predict_batch(self, batch):
            plain = np.nan_to_num(batch["s"]["values"]).max(1)[..., 0]
            total = plain.sum((1, 2), keepdims=True)
            logits = np.stack([np.sin(plain * (k + 1) + total * 0.1 * k) for k in range(5)], -1)
            return (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).astype(np.float32)

    return Random(window=6)


def blocks_of(folder):
    return {name: joined(folder, name) for name in ("class", "confidence", "used", "dates", "probabilities")}


def test_maps_are_equal_for_every_block_size_order_and_number_of_shards(tmp_path):
    rng = np.random.default_rng(0)
    for month in (1, 5, 9):
        values = rng.integers(0, 5, (50, 70)).astype(np.float32)
        values[rng.random(values.shape) < 0.1] = np.nan
        put(tmp_path / "s" / f"x_2021{month:02d}05.tif", values, left=600_003 + month)  # warped, by a part of a pixel
    there = region(f"s={tmp_path / 's'}")
    expected = None
    for number, (block, shards) in enumerate([(1000, 1), (16, 1), (7, 3), (33, 2)]):
        options = PredictOptions(block=block, overlap=0.5, probabilities=True, batch=number + 1)
        for index in reversed(range(shards)):
            folder = make_map(random_model(), there, tmp_path / f"out{number}", options, Shard(index, shards))
        found = blocks_of(folder)
        expected = expected or found
        assert len(np.unique(found["confidence"])) > 10
        for name, array in found.items():
            assert array.tobytes() == expected[name].tobytes(), name


def test_the_seam_index_does_not_depend_on_the_blocks(tmp_path):
    put(tmp_path / "s" / "x_20210105.tif", scene(50, 70).astype(np.float32))
    indices = []
    for block in (8, 1000):
        folder = make_map(random_model(), region(f"s={tmp_path / 's'}"), tmp_path / f"out{block}", PredictOptions(block=block, overlap=0.5))
        total = sum(arrays["seam"] for _, arrays in folder.blocks())
        indices.append(total[0] / total[1])
    assert indices[0] == pytest.approx(indices[1]) and 0.05 < indices[0] < 1
    plain = make_map(Identity(), region(f"s={tmp_path / 's'}"), tmp_path / "plain", PredictOptions(overlap=0.5))
    assert sum(arrays["seam"] for _, arrays in plain.blocks())[0] == 0


def test_an_unfinished_map_is_continued_and_another_one_refused(tmp_path):
    put(tmp_path / "s" / "x_20210105.tif", scene().astype(np.float32))
    there, options = region(f"s={tmp_path / 's'}"), PredictOptions(block=16)
    folder = make_map(Identity(), there, tmp_path / "out", options)
    blocks = list(folder.info.grid.blocks())
    content = folder.file(blocks[1]).read_bytes()
    folder.file(blocks[1]).unlink()
    model = Identity()
    again = make_map(model, there, tmp_path / "out", options)
    assert again.file(blocks[1]).read_bytes() == content and len(model.batches) < 4
    for changed, other in ((PredictOptions(block=8), there), (PredictOptions(block=16, overlap=0.5), there)):
        with pytest.raises(UserError, match="another"):
            make_map(Identity(), other, tmp_path / "out", changed)
    put(tmp_path / "s" / "x_20210105.tif", scene(seed=1).astype(np.float32))
    with pytest.raises(UserError, match="another"):
        make_map(Identity(), region(f"s={tmp_path / 's'}"), tmp_path / "out", options)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(UserError, match="other files"):
        make_map(Identity(), there, tmp_path / "full", options)


def test_where_nothing_is_known_there_is_no_class(tmp_path):
    classes = scene().astype(np.float32)
    classes[5:9, 20:30] = np.nan
    put(tmp_path / "s" / "x_20210105.tif", classes)
    found = joined(make_map(Identity(), region(f"s={tmp_path / 's'}"), tmp_path / "out"))
    assert ((found == NO_DATA) == np.isnan(classes)).all()


def test_sensors_of_other_sizes_and_extents(tmp_path):
    classes = scene()
    put(tmp_path / "s" / "x_20210105.tif", classes[:, :20].astype(np.float32))
    put(tmp_path / "s" / "y_20210105.tif", classes[:, 20:].astype(np.float32), left=600_200)  # the other half of the same date
    put(tmp_path / "im.tif", np.full((3, 24, 48), 7, np.float32), pixel=5.0)  # the north-western quarter
    model = Identity(spec(), spec("im", "image", 3, 5.0, 4), bands=("a", "b", "c"))
    model.trained.statistics["im"]["mean"] = [7.0] * 3
    folder = make_map(model, region(f"s={tmp_path / 's'}", images=[f"im={tmp_path / 'im.tif'}"]), tmp_path / "out")
    assert (joined(folder) == classes).all()
    used = joined(folder, "used")
    assert (used[:12, :24] == 3).all() and (used[12:] == 1).all() and (used[:, 24:] == 1).all()


def test_an_area_of_interest(tmp_path):
    put(tmp_path / "s" / "x_20210105.tif", scene(64, 64).astype(np.float32))
    (tmp_path / "area.geojson").write_text(
        '{"type": "Polygon", "crs": {"type": "name", "properties": {"name": "EPSG:32631"}}, "coordinates": [[[600110, 5699890],'
        "[600410, 5699890], [600410, 5699690], [600110, 5699690], [600110, 5699890]]]}"
    )
    there = region(f"s={tmp_path / 's'}", aoi=tmp_path / "area.geojson")
    # The last windows reach over the edge of the map, where there is imagery as well: no pixel of it counts.
    survey = make_plan(Identity(), there, PredictOptions()).surveys["s"]
    assert survey.known.tolist() == [1.0]
    found = {block: joined(make_map(Identity(), there, tmp_path / f"out{block}", PredictOptions(block=block))) for block in (5, 512)}
    assert found[5].tobytes() == found[512].tobytes() and found[5].shape == (22, 32)
    assert (found[5] != NO_DATA).sum() == 30 * 20
    (tmp_path / "far.geojson").write_text('{"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}')
    with pytest.raises(UserError, match="no sensor covers"):
        make_map(Identity(), region(f"s={tmp_path / 's'}", aoi=tmp_path / "far.geojson"), tmp_path / "far")


def test_labels_of_tiles_are_mapped_per_patch(tmp_path):
    class Labels(Identity):
        def predict_batch(self, batch):
            first = batch["s"]["values"][:, 0, 0, 0, 0].round().astype(int)
            return np.eye(5, dtype=np.float32)[first]

    classes = np.arange(6).reshape(2, 3).repeat(8, 0).repeat(8, 1) % 5
    put(tmp_path / "s" / "x_20210105.tif", classes.astype(np.float32))
    model = Labels(window=4, label_patch=0, task="classify")
    folder = make_map(model, region(f"s={tmp_path / 's'}"), tmp_path / "out", PredictOptions(overlap=0))
    assert folder.info.grid.pixel == 20 and (joined(folder) == classes[::2, ::2]).all()
    blended = joined(make_map(model, region(f"s={tmp_path / 's'}"), tmp_path / "blended", PredictOptions(overlap=0.5)), "confidence")
    assert blended.min() < 100 == blended.max()


def test_windows_of_another_size_than_those_of_training(tmp_path):
    put(tmp_path / "s" / "x_20210105.tif", scene().astype(np.float32))
    there = region(f"s={tmp_path / 's'}")
    folder = make_map(Identity(window=4), there, tmp_path / "out", PredictOptions(window=1))
    assert any("windows have 1 patch per side, and those of training 4" in text for text in folder.info.remarks)
    assert not any("windows have" in text for text in make_map(Identity(window=4), there, tmp_path / "same", PredictOptions(window=4)).info.remarks)
    assert make_map(Identity(window=4, only_window=3), there, tmp_path / "only").info.grid.window == 3
    with pytest.raises(UserError, match="--window: expected 3 patches per side, the only size that this model takes, found 4"):
        make_map(Identity(window=3, only_window=3), there, tmp_path / "refused", PredictOptions(window=4))
    with pytest.raises(UserError, match="--window: expected at most 4,096 patches per side, found 5,000"):
        PredictOptions(window=5000)
