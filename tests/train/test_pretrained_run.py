"""What of the configuration of a pre-trained run must be as in the run that takes its parameters."""

import dataclasses
import json
import pathlib

import pytest

from configs import pastis
from omnisat_jax.config import schema
from omnisat_jax.config.registry import ENCODERS, EncoderInfo
from omnisat_jax.errors import UserError
from omnisat_jax.train.pretrained_run import PretrainedRun, need_other_parts, need_same_encoders, need_unseen, read_pretrained_run
from omnisat_jax.train.seen_tiles import TileSet

NAMES = ("s1a", "s1d", "s2", "spot")


def flat(preset="demo", **changes):
    config = pastis.get_config(preset)
    config.update_from_flattened_dict(changes)
    return schema.flatten(schema.parse(config))


@pytest.fixture
def other(tmp_path):
    """Writes the configuration of the run that was pre-trained; returns its folder."""

    def write(values):
        (tmp_path / "config.json").write_text(json.dumps(values))
        return tmp_path

    return write


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 3, "finetune.steps": 5, "pretrain.ema_decay": 0.5, "contrastive.temperature": 0.3},
        {"model.head.width": 8, "model.projection.width": 8, "model.remat": True, "model.temporal_first.dropout": 0.4, "model.fusion.attention": "xla"},
        {"model.utae.encoder_widths": (8, 8), "model.vit.depth": 1, "model.ltae.period": 99.0},  # of encoders that neither run has
        {"modalities.s2.dates_train": 3},
    ],
)
def test_what_taken_parameters_do_not_depend_on_may_differ(other, changes):
    need_same_encoders(other(flat()), flat(**changes), NAMES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.fusion.heads": 2}, "model.fusion.heads: 4 there, 2 here"),
        ({"model.norm": "pixel"}, "model.norm: 'image' there, 'pixel' here"),
        ({"model.temporal_first.days": 100.0}, "model.temporal_first.days"),
        ({"model.utae.border": "zeros"}, "model.utae.border"),  # temporal_first pads by it as well
        ({"modalities.s2.encoder": "utae"}, "modalities.s2.encoder: 'temporal_first' there, 'utae' here"),
        ({"modalities.spot.encoder": "vit"}, "modalities.spot.encoder"),
        ({"data.origin": "2018-01-01"}, "data.origin"),
        ({"model.resnet.texture_radius": 3}, "model.resnet.texture_radius"),
    ],
)
def test_what_they_depend_on_may_not(other, changes, message):
    with pytest.raises(UserError, match=f"(?s)pretrain_from: expected a run whose encoders.*{message}") as raised:
        need_same_encoders(other(flat()), flat(**changes), NAMES)
    assert "Set the values of that run" in str(raised.value)


def test_modalities_of_one_run_alone_are_not_compared(other):
    there = flat(**{"modalities.spot.encoder": "vit", "model.resnet.blocks": 3})
    need_same_encoders(other(there), flat("demo,no_spot"), ("s1a", "s1d", "s2"))
    need_same_encoders(other(flat("demo,no_spot")), flat(), NAMES)
    with pytest.raises(UserError, match="modalities.spot.encoder"):
        need_same_encoders(other(there), flat(), NAMES)


def test_a_shared_modality_is_needed(other):
    with pytest.raises(UserError, match="expected a run with one of the modalities spot, found s1a, s1d, s2 in"):
        need_same_encoders(other(flat("demo,no_spot")), flat(), ("spot",))


def test_a_run_of_an_earlier_version_is_read_by_its_keys(other):
    values = {key: value for key, value in flat().items() if key != "model.resnet.texture_radius"}  # which was 0 then
    with pytest.raises(UserError, match="model.resnet.texture_radius: 0 there, 2 here"):
        need_same_encoders(other(values), flat(), NAMES)
    need_same_encoders(other(values), flat(**{"model.resnet.texture_radius": 0}), NAMES)


def test_of_encoders_that_do_not_say_what_they_read_everything_is_compared(other, monkeypatch):
    monkeypatch.setitem(ENCODERS._entries, "resnet", EncoderInfo("image", dense_map=True))
    with pytest.raises(UserError, match="model.vit.depth"):
        need_same_encoders(other(flat()), flat(**{"model.vit.depth": 1}), NAMES)


def test_a_folder_without_configuration_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"config\.json.*pretrain_from must name the folder of a run"):
        need_same_encoders(tmp_path, flat(), NAMES)


RUN = PretrainedRun(pathlib.Path("runs/x"), 4, "pastis", False, "abc", ("fold_1", "fold_2"), ("def",))
NEAR = 0.0005  # degrees, about 50 m


def tiles(*ids, at=0.0, dataset="pastis", simulation=None, simulated=False):
    """Tiles of 100 m a kilometer apart, from the meridian `at`; without places where that is None."""
    places = [None if at is None else (at + 0.01 * position, 45.0) for position in range(len(ids))]
    return TileSet(dataset, simulated, simulation, 100.0, dict(zip(ids, places, strict=True)))


ELSEWHERE = tiles("else", at=90.0)


def scored_after(seen, scored, trained=ELSEWHERE):
    need_unseen(dataclasses.replace(RUN, seen=(ELSEWHERE, seen)), scored, trained)


@pytest.mark.parametrize(
    ("seen", "scored", "found"),
    [
        (tiles("a", "b"), tiles("b", at=0.01), "1 of them, first b. Take"),
        (tiles("a", "b"), tiles("y", "z", dataset="mine"), "2 of them, first y, which is or overlaps its tile a"),  # the same ground under other names
        (tiles("a"), tiles("z", at=NEAR), "1 of them, first z, which is or overlaps"),
        (tiles("a", at=None), tiles("a"), "1 of them, first a. Take"),
        (tiles("a"), tiles("a", at=None), "1 of them, first a. Take"),
        (tiles("a", "b", simulated=True), tiles("b", simulated=True), "1 of them, first b. Take"),
        (tiles("a", simulated=True, simulation={"seed": 1}), tiles("a", simulated=True, simulation={"seed": 1}), "1 of them, first a. Take"),
        (tiles("a", simulated=True, simulation={"seed": 1}), tiles("a", simulated=True), "1 of them, first a. Take"),  # the same, given as a folder
    ],
)
def test_tiles_that_are_scored_may_not_have_been_seen(seen, scored, found):
    with pytest.raises(UserError, match=f"without the {len(scored.tiles)} tiles? on which this run is validated or tested, .* has seen {found}"):
        scored_after(seen, scored)


@pytest.mark.parametrize(
    ("seen", "scored"),
    [
        (tiles("a"), tiles("b", at=0.01)),
        (tiles("a"), tiles("a", at=1.0)),  # ids such as tile_1 are common
        (tiles("a", at=None), tiles("a", at=None, dataset="mine")),
        (tiles("a", simulated=True), tiles("a")),
        (tiles("a", simulated=True), tiles("b", simulated=True)),  # simulated tiles lie nowhere
        (tiles("a", simulated=True, simulation={"seed": 1}), tiles("a", simulated=True, simulation={"seed": 2})),
        (tiles("a"), tiles()),
    ],
)
def test_other_tiles_may_have_been_seen(seen, scored):
    scored_after(seen, scored)


def test_tiles_that_this_run_trains_on_as_well_are_a_matter_of_its_split():
    overlapping = tiles("test", at=NEAR)
    scored_after(tiles("a"), overlapping, trained=tiles("a"))
    with pytest.raises(UserError, match="first test, which is or overlaps its tile a"):
        scored_after(tiles("a"), overlapping, trained=tiles("a", at=1.0))  # another tile of that id


@pytest.mark.parametrize(
    ("fingerprint", "parts", "seen"),
    [
        ("abc", ("fold_3",), ""),
        ("abc", ("fold_2", "fold_3"), "fold_2"),
        ("def", ("fold_3", "fold_4"), "fold_3, fold_4"),  # all tiles of further records are pre-trained on
        ("abc", (), ""),
    ],
)
def test_runs_that_did_not_keep_their_tiles_are_compared_by_fingerprint(fingerprint, parts, seen):
    if not seen:
        assert need_other_parts(RUN, fingerprint, "pastis", parts) == ""
        return
    with pytest.raises(UserError, match=f"that has seen {seen} of the same data"):
        need_other_parts(RUN, fingerprint, "pastis", parts)


def test_what_cannot_be_known_of_such_a_run_is_said():
    alone = dataclasses.replace(RUN, additional=())
    assert "runs/x is of an earlier version, which did not keep its tiles" in need_other_parts(alone, "other", "pastis", ("fold_2",))
    assert "not known whether it has seen tiles" in need_other_parts(RUN, "other", "mine", ("fold_2",))  # maybe among its further records
    assert need_other_parts(alone, "other", "mine", ("fold_2",)) == need_other_parts(alone, "other", "pastis", ()) == ""


def test_what_a_run_was_pretrained_on_is_read_from_its_record(tmp_path):
    (tmp_path / "pretrain").mkdir()
    with pytest.raises(UserError, match="pretrain has not finished; run --stage=pretrain there first"):
        read_pretrained_run(tmp_path)
    (tmp_path / "pretrain" / "done.json").write_text(json.dumps({"last": 4}))
    with pytest.raises(ValueError, match=r"run\.json.*expected the record of the run that was pre-trained, found no such file"):
        read_pretrained_run(tmp_path)
    data = {"dataset": "pastis", "simulated": False, "fingerprint": "abc", "train": ["fold_1", "fold_2"], "additional": [{"fingerprint": "def"}]}
    (tmp_path / "run.json").write_text(json.dumps({"data": data}))
    assert read_pretrained_run(tmp_path) == dataclasses.replace(RUN, folder=tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"data": data | {"simulated": "no"}}))
    with pytest.raises(ValueError, match="expected data.simulated: true or false"):
        read_pretrained_run(tmp_path)
