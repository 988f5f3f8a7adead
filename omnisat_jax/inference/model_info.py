"""What a model folder says about its weights, as typed objects."""

import dataclasses
from collections.abc import Mapping

from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.models.base import MultimodalModel
from omnisat_jax.types import Params, Statistics


class ModelError(UserError):
    """A folder that holds no usable model. The message lists everything that is wrong with it."""


@dataclasses.dataclass(frozen=True)
class SensorInfo:
    """What a model was trained on in one modality; the defaults stand for "not known". Days count from 1970-01-01.

    Attributes:
      bands: names of the bands, as the dataset calls them.
      scale, offset: of each band, a physical value is stored * scale + offset. The model takes stored values.
      first_day, last_day: of the valid dates of the training tiles (series).
      dates: how many dates of a series the model was evaluated with, at most (0 = all; or no series).
    """

    bands: tuple[str, ...] = ()
    scale: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    first_day: int | None = None
    last_day: int | None = None
    dates: int = 0


@dataclasses.dataclass(frozen=True)
class Legend:
    """What is known of the classes besides their names.

    Attributes:
      colours: "#rrggbb" of each class; () for a default palette.
      unscored: names of classes that are predicted but left out of mean scores.
      background: position of the class that stands for "nothing of interest", or -1.
    """

    colours: tuple[str, ...] = ()
    unscored: tuple[str, ...] = ()
    background: int = -1


@dataclasses.dataclass(frozen=True)
class SubsetScores:
    """Scores of the test tiles for one subset of the modalities.

    Attributes:
      modalities: of the subset.
      tiles: how many tiles were scored.
      scores: {key of the metric: score, or None where there is none}.
    """

    modalities: tuple[str, ...]
    tiles: int
    scores: Mapping[str, float | None]


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Where a model comes from; the defaults stand for "not known".

    Attributes:
      dataset: its name.
      fingerprint: hash of the raw files and of how they were read.
      citation: how to cite the dataset.
      simulated: whether nothing in it was measured.
      protocol: the rule that made the split.
      train, validation, test: names of the parts.
      metrics: {key: name to show} of the scores.
      scores: of every subset of the modalities, the whole set first.
    """

    dataset: str = ""
    fingerprint: str = ""
    citation: str = ""
    simulated: bool | None = None
    protocol: str = ""
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    metrics: Mapping[str, str] = dataclasses.field(default_factory=dict)
    scores: tuple[SubsetScores, ...] = ()


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What a model folder says about its weights.

    Attributes:
      config: the configuration of the run.
      modalities: names of the modalities that the model was built for, in its order.
      classes: names of the classes, in the order of the logits.
      label_patch: label pixels per token side; 0 for tile labels.
      statistics: {modality: {"mean": [C], "std": [C]}} of the training tiles; see `batch.normalise`.
      sensors: {modality: what it was trained on}; modalities that are missing here are filled in as unknown when a model is saved.
      window: tokens per side of a training tile, or of a training crop where tiles were cropped; None = not known.
      temperature: logits are divided by it before they become probabilities.
      legend: colors and roles of the classes.
      provenance: data and scores.
    """

    config: schema.ExperimentConfig
    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    label_patch: int
    statistics: Statistics
    sensors: Mapping[str, SensorInfo] = dataclasses.field(default_factory=dict)
    window: int | None = None
    temperature: float = 1.0
    legend: Legend = Legend()
    provenance: Provenance = Provenance()

    @property
    def specs(self) -> tuple[ModalitySpec, ...]:
        """The modalities of the model, in its order."""
        specs = {spec.name: spec for spec in self.config.modalities}
        return tuple(specs[name] for name in self.modalities)


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A model that was read from a folder.

    Attributes:
      module: ready to apply to {"params": params}, in float32 on any device.
      params: nested names -> float32 arrays.
      info: everything that the folder says about them.
      checksum: identifies the model: its configuration, statistics and weights.
      format: of the folder.
    """

    module: MultimodalModel
    params: Params
    info: ModelInfo
    checksum: str
    format: int

    @property
    def statistics(self) -> Statistics:
        """{modality: {"mean": [C], "std": [C]}} of the training tiles; see `batch.normalise`."""
        return self.info.statistics

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self.info.classes

    @property
    def config(self) -> schema.ExperimentConfig:
        """The configuration of the run."""
        return self.info.config

    @property
    def sensors(self) -> Mapping[str, SensorInfo]:
        """{modality: what the model was trained on}, every modality of the model."""
        return self.info.sensors

    @property
    def window(self) -> int | None:
        """Tokens per side of a training tile; None = not known."""
        return self.info.window

    @property
    def colours(self) -> tuple[str, ...]:
        """ "#rrggbb" of each class; () for a default palette."""
        return self.info.legend.colours

    @property
    def temperature(self) -> float:
        """Logits are divided by it before they become probabilities."""
        return self.info.temperature

    @property
    def simulated(self) -> bool | None:
        """Whether the model was trained on simulated data; None = not known."""
        return self.info.provenance.simulated

    @property
    def citation(self) -> str:
        """How to cite the dataset; "" = not known."""
        return self.info.provenance.citation
