"""Does a model say more than a prediction that looks at nothing? Asked before a model is published."""

from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import numpy as np

from omnisat_jax.inference.model_info import ModelInfo
from omnisat_jax.metrics.segmentation import SegmentationScores
from omnisat_jax.report import tables
from omnisat_jax.report.results import plain
from omnisat_jax.report.run_files import Results
from omnisat_jax.types import Params

NEARLY = 1.01  # allows for a few pixels of other classes


def doubts(info: ModelInfo) -> list[str]:
    """What speaks against the scores of a model: one text per subset of its modalities that scores no more than a trivial prediction.

    Folders of earlier versions do not say what that scores. Of all dense predictions over K scored classes, only those of one class everywhere have
    a mIoU of OA / K, all others have more; so they are recognized too.

    Args:
      info: what its folder says.
    """
    task, found = info.config.task, []
    (main, name), ((key, _), what) = tables.COLUMNS[task][0], tables.TRIVIAL[task]
    for subset in info.provenance.scores:
        score, trivial, oa = (subset.scores.get(each) for each in (main, key, "oa"))
        start = f"with {'+'.join(subset.modalities)}, {name} {tables.shown(score)}"
        if score is not None and trivial is not None and score <= trivial:
            found.append(f"{start} is not above {trivial:.1f}, which a prediction of {what} reaches")
        elif score is not None and trivial is None and oa is not None and not info.legend.unscored and score * len(info.classes) <= oa * NEARLY:
            found.append(f"{start} is OA {oa:.1f} over {len(info.classes)} classes, which a prediction of one class everywhere has")
    return found


def kept_scores(entry: Mapping[str, Any], results: Results) -> dict[str, float | None]:
    """The scores of a subset of modalities that a model folder keeps, {key: score}; None where results have no such score.

    Args:
      entry: of the subset, in results.json; the trivial score of earlier versions is computed from its confusion counts.
      results: the whole.
    """
    scores, (key, _) = entry["scores"], tables.TRIVIAL[results["task"]][0]
    if key not in scores and "confusion" in entry:
        counted = SegmentationScores(results["protocol"]["classes"], results["protocol"]["unscored"])
        counted.add(entry["confusion"])
        scores = scores | plain({key: counted.compute()[key]})
    return {key: scores.get(key) for key in tables.released(results["task"])}


def always_predicted(results: Results) -> str:
    """The only class that is predicted with all modalities, or "" where there are several, or no confusion counts."""
    counts = np.asarray(results["subsets"][0].get("confusion", np.zeros((0, 1))))
    (places,) = np.nonzero(counts.sum(0)[:-1])
    return results["protocol"]["classes"][places[0]] if len(places) == 1 else ""


def constant_kernels(params: Params) -> list[str]:
    """Names of the kernels of which all values are equal: they were not trained, or training broke them."""
    flat: dict[str, Any] = flax.traverse_util.flatten_dict(dict(params), sep="/")
    return [name for name, value in flat.items() if name.endswith("kernel") and value.size > 1 and np.ptp(value) == 0]
