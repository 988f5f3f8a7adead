"""docs/pastis_hd.md: its numbers are those of the configuration, of the studies and of docs/speed.md, and what is computed from them is right."""

import re

import pytest

from configs import pastis
from configs.studies import pastis_table, tile_labels
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "pastis_hd.md").read_text()
SPEED = (ROOT / "docs" / "speed.md").read_text()
HD = pastis.get_config("hd")
TILES = 2_433


def row(name):
    """The cells of the table row that begins with a text."""
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {name}")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def numbers(text):
    return [float(found.replace(",", "")) for found in re.findall(r"\d[\d,]*\.?\d*", text)]


def test_the_recipe_is_that_of_the_preset():
    stages = (HD.pretrain, HD.finetune)
    assert row("steps") == [f"{stage.steps:,}" for stage in stages]
    assert row("tiles per step, over") == [str(stage.batch_size) for stage in stages]
    assert [float(cell) for cell in row("peak learning rate")] == [stage.learning_rate for stage in stages]
    dates = ", ".join(str(HD.modalities[name].dates_train) for name in ("s2", "s1a", "s1d"))
    assert row("dates drawn") == [dates, dates]
    assert row("tiles that the contrastive")[0] == str(HD.contrastive.group_size) and row("average of parameters")[1] == str(HD.finetune.ema_decay)
    assert HD.data.protocol == "official_5fold" and f"every {HD.pretrain.eval_every:,} steps" in PAGE and HD.pretrain.eval_every == HD.finetune.eval_every
    assert all(HD.modalities[name].dates_eval == 0 and HD.modalities[name].encoder == "utae" for name in ("s2", "s1a", "s1d"))


def test_hours_are_steps_over_measured_speeds():
    total = 0.0
    for name, stage in (("pre-training, 40,000", HD.pretrain), ("fine-tuning, 30,000", HD.finetune)):
        tiles, rate, hours = row(name)
        seen = stage.steps * stage.batch_size
        assert tiles == f"{seen:,}" and f"| {rate} |" in SPEED
        assert float(hours) == pytest.approx(seen / float(rate) / 3600, abs=0.051)
        total += seen / float(rate) / 3600
    assert float(row("one fold")[-1]) == pytest.approx(total, abs=0.051) and float(row("five folds")[-1]) == pytest.approx(5 * total, abs=0.6)
    seen = HD.pretrain.steps * HD.pretrain.batch_size + HD.finetune.steps * HD.finetune.batch_size
    assert f"{seen:,} of them would take {seen * 3.1 / 86400:.0f} days" in PAGE and "takes 3.1 s" in SPEED
    assert f"a fold takes {seen / 30 / 3600:.0f} hours and five folds {5 * seen / 30 / 3600:.0f}" in PAGE


def test_sizes_are_those_of_measured_tiles():
    for name in ("raw folder", "records |", "records with"):
        size, whole = row(name)[-2:]
        assert f"| {numbers(size)[0]:g} |" in SPEED
        assert numbers(whole)[0] == pytest.approx(numbers(size)[0] * TILES / 1000, abs=0.6)
    assert f"`data.buffer` = {HD.data.buffer} batches of {HD.pretrain.batch_size} tiles of 38 MiB" in PAGE
    assert numbers(row("of the host")[0])[0] == pytest.approx(HD.data.buffer * HD.pretrain.batch_size * 38 / 1024, abs=0.06)
    assert "38 MiB each" in (ROOT / "docs" / "scale.md").read_text()


def test_published_scores_are_those_of_the_studies():
    scores = {name: row.published for name, row in (*pastis_table.get_config().rows.items(), *tile_labels.get_config().rows.items())}
    for preset, name in (("utae", "utae"), ("early", "early"), ("late", "late"), ("published,no_pretrain", "published_no_pretrain"), ("published", "published")):
        rows = [line for line in PAGE.splitlines() if line.endswith(f"`hd,{preset}` |")]
        assert any(scores[name] in numbers(line.split("|")[3]) for line in rows), preset
