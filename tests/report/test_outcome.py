"""The outcome of a run in words."""

import numpy as np
import pytest

from omnisat_jax.errors import DataError
from omnisat_jax.report import outcome
from tests.report.examples import CLASSES, classification, of_subsets, scaling, segmentation


def test_three_sentences_say_what_was_trained_how_good_it_is_and_how_sure_that_is(tmp_path):
    found = segmentation() | {"temperature_scaling": scaling()}
    found["subsets"][0]["scores"] |= {"ece": 12.0, "oa": 90.0, "miou": 80.0}
    found["subsets"][1]["scores"] |= {"oa": 70.0, "miou": 60.0}
    assert outcome.sentences(tmp_path, found) == [
        "A model of 2 sensors (Sentinel-2 and SPOT) was pre-trained without labels and trained on 6 simulated tiles with labels to map 3 classes, "
        "and tested on 2 other tiles.",
        "With all sensors 90.0 % of the pixels get the right class (80.0 % mIoU, the mean over the classes); with Sentinel-2 alone, the best single "
        "sensor, 70.0 % (60.0 % mIoU).",
        "How far mIoU depends on the 2 test tiles and on this one training is not known. The probabilities are off by 12.0 points on average, and by "
        "3.0 with the temperature that is saved with the model.",
    ]


@pytest.mark.parametrize(
    ("protocol", "beginning"),
    [
        ({"pretrain_steps": 0, "simulated": False}, "A model of 2 sensors (Sentinel-2 and SPOT) was trained on 6 tiles with labels to map"),
        ({"pretrain_steps": 0, "pretrain_from": "there"}, "A model of 2 sensors (Sentinel-2 and SPOT) was pre-trained without labels and trained on"),
        ({"pretrain_steps": 0, "label_share": 0.5}, "A model of 2 sensors (Sentinel-2 and SPOT) was trained on 3 simulated tiles with labels to map"),
        ({"pretrain_steps": 0, "label_share": 0.01}, "A model of 2 sensors (Sentinel-2 and SPOT) was trained on 1 simulated tile with labels to map"),
        ({"probe": "linear"}, "A model of 2 sensors (Sentinel-2 and SPOT) was pre-trained without labels and frozen, and a linear probe was fitted"),
        ({"probe": "knn", "pretrain_steps": 0}, "A model of 2 sensors (Sentinel-2 and SPOT) was not trained, frozen, and a knn probe was fitted"),
    ],
)
def test_how_it_was_trained(protocol, beginning, tmp_path):
    assert outcome.sentences(tmp_path, segmentation(**protocol))[0].startswith(beginning)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"a_b": 60.0, "a": 50.0, "b": 20.0}, "With all sensors it reaches 60.0 % mIoU; with a alone, the best single sensor, 50.0 %."),
        ({"a_b": 60.0, "a": None, "b": float("nan")}, "With all sensors it reaches 60.0 % mIoU."),
        ({"a": 60.0}, "With a it reaches 60.0 % mIoU."),
        ({"a_b": None, "a": None, "b": None}, "No test tile has both a label and a measurement, so there is no mIoU."),
    ],
)
def test_with_all_sensors_and_with_the_best_one(values, sentence, tmp_path):
    assert outcome.sentences(tmp_path, of_subsets(**values))[1] == sentence


def test_labels_of_tiles(tmp_path):
    trained, scored, _ = outcome.sentences(tmp_path, classification())
    assert "to find 3 kinds of label" in trained and scored == "With all sensors it reaches 50.0 % macro F1."


def test_other_test_tiles_would_give_other_scores(tmp_path):
    """One tile is all right and one is all wrong: resamples have an mIoU from 0 to 100."""
    counts = np.zeros((2, 3, 3, 4), int)
    for index in range(3):
        counts[0, :, index, index], counts[1, :, index, (index + 1) % 3] = 5, 5
    np.savez(tmp_path / "tiles.npz", tile=np.array(["a", "b"]), counts=counts)
    sure = outcome.sentences(tmp_path, segmentation())[2]
    assert sure.startswith("Other test tiles would give 0 to 100 % mIoU (95 % interval over 2 tiles); another training differs as well.")


def test_tiles_of_other_results_are_named(tmp_path):
    np.savez(tmp_path / "tiles.npz", tile=np.array(["a"]), counts=np.zeros((1, 1, len(CLASSES), 4)))
    with pytest.raises(DataError, match="tiles.npz"):
        outcome.sentences(tmp_path, segmentation())
