"""What a page of the HTML report consists of, for `report.html.j2`. Images are data URIs."""

import dataclasses
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Table:
    """A table that can be sorted by its columns.

    Attributes:
      title: above it.
      head: names of its columns.
      rows: the cells of each row.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Chart:
    """An image with a title above and a note below.

    Attributes:
      title: above it.
      image: a data URI.
      note: below it.
      alt: what it shows, for those who do not see it; "" = title and note.
    """

    title: str
    image: str
    note: str = ""
    alt: str = ""


@dataclasses.dataclass(frozen=True)
class Fact:
    """A number of the overview: what it is, its value, and a note below."""

    name: str
    value: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Picture:
    """The picture of the overview.

    Attributes:
      title: above it.
      images: {caption: image}, side by side.
      legend: (name, "#rrggbb") of each class that occurs.
    """

    title: str
    images: Mapping[str, str]
    legend: Sequence[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class PanelTile:
    """One test tile.

    Attributes:
      name: of the tile.
      inputs: {modality: image}.
      maps: {"label" or subset of modalities: image}, the same keys in every tile.
      classes: number of classes among its labels.
    """

    name: str
    inputs: Mapping[str, str]
    maps: Mapping[str, str]
    classes: int


@dataclasses.dataclass(frozen=True)
class Panels:
    """Test tiles, with one map at a time beside their labels.

    Attributes:
      tiles: the tiles.
      choices: keys of their maps.
      start: the map that is shown first.
      legend: (name, "#rrggbb") of each class that occurs.
    """

    tiles: Sequence[PanelTile]
    choices: Sequence[str]
    start: str
    legend: Sequence[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Page:
    """A whole report.

    Attributes:
      title: name of the run or study.
      simulated: whether its data are simulated.
      summary: the outcome, in sentences.
      protocol: what the numbers mean, in sentences.
      key: the sentence of `protocol` that belongs into the overview.
      facts: the numbers of the overview.
      picture: of the overview, if there is one.
      tables: of scores.
      charts: figures.
      panels: predictions of test tiles, if there are any.
      command: shell command that repeats the run or study; "" if unknown.
      environment: {name: value} of versions and hardware.
      configuration: {key: value}.
    """

    title: str
    simulated: bool
    summary: Sequence[str]
    protocol: Sequence[str]
    key: str
    facts: Sequence[Fact]
    picture: Picture | None
    tables: Sequence[Table]
    charts: Sequence[Chart]
    panels: Panels | None
    command: str
    environment: Mapping[str, object]
    configuration: Mapping[str, object]
