"""The card of a model: README.md in its folder, in Markdown with the front matter that the Hugging Face hub reads."""

import datetime
import functools
import pathlib
from typing import Any

import jinja2

from omnisat_jax import __version__
from omnisat_jax.dates import EPOCH
from omnisat_jax.files import atomic
from omnisat_jax.inference.model_folder import CARD
from omnisat_jax.inference.model_info import ModelInfo, SensorInfo
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.report import escaping, trivial
from omnisat_jax.report.tables import shown
from omnisat_jax.types import StrPath

UNKNOWN = "unknown"  # a license that nobody has chosen, as the hub calls it
WARNING = "Simulated data: do not use on real imagery."
PIPELINES = {"segment": "image-segmentation", "classify": "image-classification"}
_HERE = pathlib.Path(__file__).resolve().parent


def write(folder: StrPath, info: ModelInfo, *, licence: str = UNKNOWN, repository: str = "") -> None:
    """Writes the card of a model into its folder.

    Args:
      folder: of the model.
      info: what the folder says.
      licence, repository: see `text`.

    Raises:
      UserError: the file cannot be written.
    """
    atomic.write_text(pathlib.Path(folder) / CARD, text(info, licence=licence, repository=repository))


def text(info: ModelInfo, *, licence: str = UNKNOWN, repository: str = "") -> str:
    """The card of a model.

    Args:
      info: what its folder says.
      licence: of the weights, as the hub spells it, such as "apache-2.0" or "cc-by-4.0".
      repository: "ORG/NAME" on the hub; "" if it has none.
    """
    data = info.provenance
    ground = next(spec.ground for spec in info.specs if spec.kind != "location")
    return _template().render(
        info=info,
        data=data,
        licence=licence,
        source=f"hf:{repository}" if repository else "path/to/this/folder",
        pipeline=PIPELINES[info.config.task],
        version=__version__,
        warning=WARNING,
        dense=info.config.task == "segment",
        metres=f"{ground * info.window:g}" if info.window else "",
        sensors=[_row(spec, info.sensors.get(spec.name, SensorInfo()), info.window) for spec in info.specs],
        example=_example(info.specs),
        doubts=trivial.doubts(info),
        scores=[
            ("+".join(subset.modalities), [shown(subset.scores.get(key)) for key in data.metrics], subset.tiles) for subset in data.scores
        ],
    )


def _row(spec: ModalitySpec, sensor: SensorInfo, window: int | None) -> dict[str, Any]:
    """One row of the table of sensors."""
    days = [
        (EPOCH + datetime.timedelta(day)).isoformat() if day is not None else "" for day in (sensor.first_day, sensor.last_day)
    ]
    return {
        "name": spec.name,
        "kind": spec.kind,
        "bands": ", ".join(sensor.bands) or f"{spec.channels}, names not known",
        "scale": _scale(sensor),
        "metres": "" if spec.kind == "location" else f"{spec.resolution:g}",
        "pixels": "" if spec.kind == "location" or not window else f"{window * spec.patch} x {window * spec.patch}",
        "dates": "" if spec.kind != "series" else str(sensor.dates or "all"),
        "days": "" if not all(days) else " to ".join(days),
    }


def _scale(sensor: SensorInfo) -> str:
    """How stored values become physical ones."""
    if sensor.scale is None or sensor.offset is None:
        return "not declared"
    pairs = dict.fromkeys(zip(sensor.scale, sensor.offset, strict=True))
    return "; ".join(f"x {scale:g} + {offset:g}" for scale, offset in pairs) if len(pairs) == 1 else "one per band, in config.json"


def _example(specs: tuple[ModalitySpec, ...]) -> str:
    """The argument of `Model.probabilities`, as code."""
    forms = {"series": "({0}, {0}_dates)", "image": "{0}", "location": "(longitude, latitude)"}
    return "{" + ", ".join(f'"{spec.name}": {forms[spec.kind].format(spec.name)}' for spec in specs) + "}"


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["safe_text"] = escaping.markdown
    return environment.get_template("model_card.md.j2")
