"""Model folders are checked before they are published, and completed in a new folder only."""

import dataclasses
import json
import shutil
from typing import Any

import flax.traverse_util
import numpy as np
import pytest

from omnisat_jax.cli.command import run_command
from omnisat_jax.inference.model_folder import CARD, CONFIG, EARLIER_WEIGHTS, FORMAT, load_model
from omnisat_jax.inference.model_info import Provenance, SubsetScores
from omnisat_jax.inference.model_saving import save_model
from omnisat_jax.metrics.segmentation import SegmentationScores
from omnisat_jax.publish import completed, licence_of, main, review
from omnisat_jax.report import model_card, tables, trivial
from omnisat_jax.train import workdir
from tests.inference.folders import assert_original, made, put, second_version


@pytest.fixture
def folder(tmp_path):
    """A model folder as a run leaves it."""
    params, info = made()
    save_model(tmp_path / "model", params, info)
    model_card.write(tmp_path / "model", info)
    return tmp_path / "model"


@pytest.fixture
def earlier(folder):
    """A model folder of the second format, without a card."""
    contents = second_version({path.name: path.read_bytes() for path in folder.iterdir()})
    shutil.rmtree(folder)
    folder.mkdir()
    return put(folder, contents)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lacking(output):
    return [line.split()[1].rstrip(":") for line in output.splitlines() if line.startswith("missing")]


def test_a_check_writes_nothing_and_says_what_is_missing(folder, capsys):
    before = contents(folder.parent)
    assert main([str(folder), "--check"]) == 1
    output = capsys.readouterr().out
    assert lacking(output) == ["licence"] and "hf upload" not in output
    assert f"complete, checksum {load_model(folder).checksum}" in output and model_card.WARNING in output
    assert contents(folder.parent) == before


def test_what_a_run_leaves_is_completed_in_a_new_folder(folder, capsys):
    before = contents(folder)
    assert main([str(folder), "--repo", "org/name", "--license", "cc-by-4.0", "--tag", "v2.1"]) == 0
    output, out = capsys.readouterr().out, folder.with_name("model-published")
    assert contents(folder) == before and not lacking(output)
    assert_original(load_model(out))
    assert load_model(out).info == load_model(folder).info
    card = (out / CARD).read_text()
    assert card == model_card.text(made()[1], licence="cc-by-4.0", repository="org/name") and licence_of(card) == "cc-by-4.0"
    assert f"  hf upload org/name {out} . --commit-message v2.1\n  hf repos tag create org/name v2.1\n" in output
    assert 'Model.from_pretrained("hf:org/name@v2.1")' in output
    assert main([str(out), "--check"]) == 0
    assert main([str(out), "--repo", "org/name"]) == 0  # complete: used as it is
    assert f"hf upload org/name {out} ." in capsys.readouterr().out and not (folder.parent / "model-published-published").exists()


def test_an_earlier_folder_becomes_one_of_this_format(earlier, tmp_path, capsys):
    before = contents(earlier)
    assert main([str(earlier), "--out", str(tmp_path / "new"), "--license", "mit", "--citation", "Garnot, 2021"]) == 1
    assert lacking(capsys.readouterr().out) == ["scores", "bands", "simulated"]
    assert contents(earlier) == before
    model = load_model(tmp_path / "new")
    assert_original(model)
    assert model.format == FORMAT and model.citation == "Garnot, 2021" and not (tmp_path / "new" / EARLIER_WEIGHTS).exists()
    assert "Garnot, 2021" in (tmp_path / "new" / CARD).read_text()


PROTOCOL = {
    "dataset": "PASTIS-HD", "simulated": True, "protocol": "fixed", "test": ["fold_5"], "test_tiles": 2, "train_tiles": 6, "classes": ["a", "b"],
    "unscored": ["b"], "fingerprint": "f" * 16, "fold": 1, "train": ["fold_1"], "validation": [], "void_test_parcels": False, "dates": {"s2": 6},
    "seed": 0, "checkpoint": 4, "pretrain_steps": 0, "pretrain_from": "", "label_share": 1.0, "modalities": ["s2"], "missing_modalities": [],
    "probe": "none", "broken": {"on_bad": "raise", "tiles": 0}, "colours": ["#000000", "#ffffff"],
}  # fmt: skip


def test_the_results_of_its_run_complete_an_earlier_folder(earlier, tmp_path, capsys):
    subsets = [{"modalities": ["s2"], "scores": {"miou": 12.5, "oa": None}, "tiles": 2}]
    (tmp_path / "results.json").write_text(json.dumps({"name": "x", "task": "segment", "protocol": PROTOCOL, "subsets": subsets}))
    (tmp_path / "run.json").write_text(json.dumps({"data": {"citation": "Garnot, 2021"}}))
    (tmp_path / "tiles.npz").write_bytes(b"tiles")
    workdir.mark_evaluated(tmp_path, {"checkpoint": 4}, model=True)
    assert main([str(earlier), "--license", "mit"]) == 1
    assert lacking(capsys.readouterr().out) == ["bands"]
    info = load_model(tmp_path / "model-published").info
    data = info.provenance
    assert (data.dataset, data.citation, data.simulated, data.train, data.test) == ("PASTIS-HD", "Garnot, 2021", True, ("fold_1",), ("fold_5",))
    assert data.scores[0].scores == {"miou": 12.5, "oa": None, "miou_most_frequent": None} and info.legend.colours == ("#000000", "#ffffff")
    # Results of another model are not its own.
    shutil.rmtree(tmp_path / "model-published")
    (earlier / CONFIG).write_bytes((earlier / CONFIG).read_bytes() + b"\n")
    assert main([str(earlier)]) == 1
    assert load_model(tmp_path / "model-published").info.provenance == Provenance()


def test_a_published_model_does_not_name_the_folders_of_this_machine(folder):
    info = load_model(folder).info
    paths = {"raw_dir": "/home/me/pastis", "cache_dir": "runs/cache", "pretrain_dirs": "gs://ours/a,/home/me/b"}
    config = dataclasses.replace(info.config, data=dataclasses.replace(info.config.data, **paths), pretrain_from="/home/me/run")
    found = completed(folder, dataclasses.replace(info, config=config), "").config
    assert (found.data.raw_dir, found.data.cache_dir, found.data.pretrain_dirs, found.pretrain_from) == ("pastis", "runs/cache", "a,b", "run")
    assert found.model == config.model and found.modalities == config.modalities


def test_an_edited_card_is_kept(folder, capsys):
    edited = (folder / CARD).read_text().replace("## Limits", "## Limits\n\nOur own words.")
    (folder / CARD).write_text(edited)
    assert main([str(folder), "--license", "mit", "--repo", "org/name"]) == 0
    assert (folder.with_name("model-published") / CARD).read_text() == edited.replace("license: unknown", "license: mit")
    (folder / CARD).write_text("---\ntags: [x]\n---\nOur own words.")
    assert main([str(folder), "--license", "mit", "--out", str(folder.with_name("other"))]) == 0
    assert (folder.with_name("other") / CARD).read_text() == "---\nlicense: mit\ntags: [x]\n---\nOur own words."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--out", "{folder}"), "expected a new folder, found one that is there already"),
        (("--out", "{folder}/new"), "expected a folder outside"),
        (("--repo", "name"), "--repo: expected a repository of the hub as ORG/NAME, found name\n"),
        (("--repo", "org/name@v2"), "--repo: expected a repository of the hub as ORG/NAME, found org/name@v2"),
        (("--tag", "v1 0"), "--tag: expected a git tag such as v1.0, found v1 0\n"),
        (("--license", "CC BY 4.0"), "--license: expected a license as the hub spells it"),
        (("--citation", "\x1b[31m"), "citation"),
    ],
)
def test_options_are_checked(folder, capsys, options, message):
    before = contents(folder.parent)
    assert run_command(main, [str(folder), *(option.format(folder=folder) for option in options)]) == 1
    assert message in capsys.readouterr().err
    assert contents(folder.parent) == before


def test_damaged_folders_and_cards_are_refused(folder, capsys):
    (folder / CARD).write_bytes(b"\xff\xfe")
    assert run_command(main, [str(folder)]) == 1
    assert "README.md: expected the card of a model: text in UTF-8" in capsys.readouterr().err
    (folder / CONFIG).write_bytes(b"{")
    assert run_command(main, [str(folder), "--check"]) == 1
    assert "config.json" in capsys.readouterr().err


def test_every_missing_thing_is_a_fact(folder, earlier):
    names = {fact.name for fact in review(load_model(earlier), None) if not fact.present}
    assert names == {"format", "card", "licence", "citation", "scores", "bands", "simulated"}


def changed(folder, **changes):
    """The folder with another provenance."""
    model = load_model(folder)
    info = dataclasses.replace(model.info, provenance=dataclasses.replace(model.info.provenance, **changes))
    save_model(folder, model.params, info)
    model_card.write(folder, info, licence="mit")
    return folder


@pytest.mark.parametrize(("miou", "word"), [(1.7, "warning"), (31.0, "warning"), (31.1, "ok")])
def test_scores_of_one_class_everywhere_are_warned_of_and_not_refused(folder, capsys, miou, word):
    scores = (SubsetScores(("s2",), 2, {"miou": miou, "oa": 60.0, "miou_most_frequent": 31.0}),)
    changed(folder, scores=scores, metrics=tables.released("segment"))
    assert main([str(folder), "--check"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if " scores: " in line)
    text = f"with s2, mIoU {miou} is not above 31.0, which a prediction of the most frequent class everywhere reaches"
    assert line.startswith(word) and (text in line) == (word == "warning")
    assert (text in (folder / CARD).read_text()) == (word == "warning")


def test_what_the_confusion_counts_of_its_run_say_counts_for_a_folder_that_does_not(folder, tmp_path, capsys):
    for counts, text in (
        ([[0, 6, 0], [0, 4, 0]], "warning scores: the model seems to have learned nothing: it always predicts b; with s2, mIoU 20.0 is not above 60.0"),
        ([[5, 1, 0], [1, 3, 0]], "ok      scores: of 1 subset of modalities"),
    ):
        scores = SegmentationScores(("a", "b"))
        scores.add(np.array(counts))
        found = {key: value for key, value in scores.compute().items() if key in ("miou", "oa")}
        subsets = [{"modalities": ["s2"], "scores": found, "tiles": 2, "confusion": counts}]
        protocol = PROTOCOL | {"unscored": []}
        if "always" in text:
            subsets[0]["scores"], protocol = found | {"miou": 20.0}, PROTOCOL | {"unscored": ["b"]}
        (tmp_path / "results.json").write_text(json.dumps({"name": "x", "task": "segment", "protocol": protocol, "subsets": subsets}))
        (tmp_path / "tiles.npz").write_bytes(b"tiles")
        changed(folder, scores=(SubsetScores(("s2",), 2, {"miou": 1.0}),), metrics={"miou": "mIoU"})
        workdir.mark_evaluated(tmp_path, {"checkpoint": 4}, model=True)
        assert main([str(folder), "--check"]) == 0
        assert text in capsys.readouterr().out


def test_an_earlier_folder_of_one_class_everywhere_is_recognised_by_its_scores(folder):
    info = load_model(folder).info
    info = dataclasses.replace(info, legend=dataclasses.replace(info.legend, unscored=()))
    for miou, oa, doubtful in ((30.0, 60.0, True), (33.0, 60.0, False), (None, None, False)):
        scores = (SubsetScores(("s2",), 2, {"miou": miou, "oa": oa}),)
        found = trivial.doubts(dataclasses.replace(info, provenance=dataclasses.replace(info.provenance, scores=scores)))
        assert bool(found) == doubtful and (not found or "mIoU 30.0 is OA 60.0 over 2 classes" in found[0])


def test_labels_of_tiles_are_held_against_every_label(folder):
    info = load_model(folder).info
    config = dataclasses.replace(info.config, task="classify")
    for f1, doubtful in ((39.9, True), (40.0, True), (40.1, False)):
        scores = (SubsetScores(("s2",), 2, {"f1_macro": f1, "f1_weighted": 9.0, "map": 9.0, "f1_every_label": 40.0}),)
        found = trivial.doubts(dataclasses.replace(info, config=config, provenance=dataclasses.replace(info.provenance, scores=scores)))
        assert bool(found) == doubtful and (not found or "every label for every tile" in found[0])


def test_kernels_that_are_constant_are_warned_of(folder, capsys):
    model = load_model(folder)
    flat: dict[str, Any] = flax.traverse_util.flatten_dict(model.params, sep="/")
    name = next(name for name in flat if name.endswith("kernel"))
    save_model(folder, flax.traverse_util.unflatten_dict(flat | {name: 0 * flat[name]}, sep="/"), model.info)
    assert main([str(folder), "--check"]) == 1  # no license
    assert f"warning weights: all values are equal in 1 kernel: {name}; " in capsys.readouterr().out
