"""The card of a model says what its folder says, in the form that the hub reads, and never hides that data are simulated."""

import dataclasses
import re

import pytest
import yaml

from omnisat_jax.inference.model_folder import ModelInfo
from omnisat_jax.inference.model_info import SensorInfo
from omnisat_jax.report import model_card
from tests.inference.folders import BANDS, made


@pytest.fixture(scope="module")
def info():
    return made()[1]


def front_matter(card):
    start, block, rest = card.split("---\n", 2)
    assert not start
    return yaml.safe_load(block), rest


def changed(info, **changes):
    return dataclasses.replace(info, provenance=dataclasses.replace(info.provenance, **changes))


def test_front_matter_is_what_the_hub_expects(info):
    about, _ = front_matter(model_card.text(info, licence="cc-by-4.0"))
    assert about["license"] == "cc-by-4.0" and about["library_name"] == "omnisat-jax" and about["pipeline_tag"] == "image-segmentation"
    assert {"earth-observation", "jax", "simulated-data"} <= set(about["tags"])
    about, _ = front_matter(model_card.text(changed(info, simulated=False)))
    assert about["license"] == "unknown" and "simulated-data" not in about["tags"]


def test_says_what_the_folder_says(info):
    card = model_card.text(info, licence="mit", repository="org/name")
    row = next(line for line in card.splitlines() if line.startswith("| s2 | series"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["s2", "series", ", ".join(BANDS), "x 0.0001 + 0", "10", "16 x 16", "6", "2018-09-02 to 2019-11-14"]
    for text in (
        "0. a (background) (not scored)\n1. b\n",
        "temperature of 1.5",
        "PASTIS-HD, simulated, fingerprint 0123456789abcdef",
        "trained on fold_1;\ntested on fold_5.",
        "Garnot, 2021 CC BY 4.0",
        "| modalities | mIoU | tiles |\n|---|---:|---:|\n| s2 | - | 2 |\n| s2 | 12.5 | 2 |\n",
        'model = Model.from_pretrained("hf:org/name")\nprobabilities = model.probabilities({"s2": (s2, s2_dates)})\n',
        "tiles of 160 m x 160 m",
    ):
        assert text in card, text
    assert "license of the weights has not been chosen" not in card
    assert "license of the weights has not been chosen" in model_card.text(info)


def test_simulated_data_are_stated_at_the_top_and_among_the_limits(info):
    assert model_card.text(info).count(model_card.WARNING) == 2
    assert model_card.WARNING in model_card.text(info).split("## What it takes")[0]
    real, unknown = (model_card.text(changed(info, simulated=simulated)) for simulated in (False, None))
    assert "imulated" not in real
    assert model_card.WARNING not in unknown and "simulated or real data is not known" in unknown


def test_what_is_not_known_is_said(info):
    bare = ModelInfo(info.config, info.modalities, info.classes, info.label_patch, info.statistics, {"s2": SensorInfo()})
    card = model_card.text(bare)
    assert card.count("Not known: the model was saved by an earlier version.") == 2
    assert "10, names not known" in card and "not declared" in card and "None" not in card


def test_text_of_datasets_is_shown_and_not_interpreted(info):
    named = dataclasses.replace(info, classes=("a|b", "<img src=x>"))
    card = model_card.text(changed(named, citation="---\n[x](javascript:1)\n# head", dataset="`d`"))
    about, rest = front_matter(card)
    assert about["library_name"] == "omnisat-jax"
    assert "<img" not in rest.replace("\\<img", "") and "\n# head" not in rest and "[x](" not in rest and r"a\|b" in rest
    assert not re.search(r"\n{4,}", card)


def test_a_card_is_written_beside_the_model(info, tmp_path):
    model_card.write(tmp_path, info)
    assert (tmp_path / "README.md").read_text() == model_card.text(info)
