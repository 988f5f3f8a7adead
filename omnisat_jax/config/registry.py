"""The names of encoders and models, each with the properties that a configuration is checked against.

Nothing here needs jax, so a configuration can be checked without it. The constructors have the same names in
`omnisat_jax.models.encoders.registry` and `omnisat_jax.models.registry`, which also register encoders and models of your own.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import TypeVar

from omnisat_jax.config.rules import ConfigError, found

KINDS = ("series", "image", "location")  # of modalities
TASKS = ("segment", "classify")
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class EncoderInfo:
    """What a configuration needs to know of an encoder.

    Attributes:
      kind: of the modalities it reads, one of `KINDS`.
      dense_map: whether it returns a dense map besides tokens.
      settings: keys and groups of the configuration of the model that it reads, beside the width and the norm; None = perhaps all.
    """

    kind: str
    dense_map: bool
    settings: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What a configuration needs to know of a model.

    Attributes:
      kinds: of the modalities it reads, some of `KINDS`.
      tasks: it can be trained for, some of `TASKS`.
      pretrainable: whether it can be pre-trained without labels.
      own_encoders: it has encoders of its own, which return a dense map of every sensor; the configured ones are not used.
      one_resolution: it reads all modalities on one pixel grid.
    """

    kinds: tuple[str, ...] = KINDS
    tasks: tuple[str, ...] = TASKS
    pretrainable: bool = True
    own_encoders: bool = False
    one_resolution: bool = False


class Registry(Mapping[str, T]):
    """Entries by name, in the order in which they were registered. A registry equals only itself."""

    def __init__(self, what: str, entries: Mapping[str, T]):
        """what: an entry is, with its article, for messages; entries: the built-in ones, which cannot be replaced."""
        self.what, self._built_in, self._entries = what, frozenset(entries), dict(entries)

    def __getitem__(self, name: str) -> T:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def register(self, name: str, entry: T) -> None:
        """Adds an entry, or replaces one that is not built in.

        Raises:
          ConfigError: a name that configurations cannot have, or of a built-in entry.
        """
        if not re.fullmatch("[A-Za-z][A-Za-z0-9_]{0,63}", name):
            raise ConfigError(f"the name of {self.what}: expected 1 to 64 letters, digits and _ after a letter, found {found(name)}.")
        if name in self._built_in:
            raise ConfigError(f"the name of {self.what}: expected another than the built-in {', '.join(sorted(self._built_in))}, found {name!r}.")
        self._entries[name] = entry

    def find(self, name: str) -> T:
        """The entry of a name.

        Raises:
          ConfigError: no such entry; lists those there are.
        """
        if name not in self:
            raise ConfigError(
                f"expected the name of {self.what}, one of {', '.join(self)}, found {found(name)}. "
                "One of your own must be registered before it is used."
            )
        return self[name]


ENCODERS = Registry(
    "an encoder",
    {
        "utae": EncoderInfo("series", dense_map=True, settings=("utae", "ltae")),
        "patch_ltae": EncoderInfo("series", dense_map=False, settings=("patch_ltae", "ltae")),
        "temporal_first": EncoderInfo("series", dense_map=True, settings=("temporal_first", "utae.border")),
        "vit": EncoderInfo("image", dense_map=False, settings=("vit",)),
        "resnet": EncoderInfo("image", dense_map=True, settings=("resnet",)),
        "patch_cnn": EncoderInfo("image", dense_map=False, settings=("patch_cnn",)),
        "location": EncoderInfo("location", dense_map=False, settings=("location",)),
    },
)
_BASELINE = ModelInfo(kinds=("series",), pretrainable=False, one_resolution=True)
MODELS = Registry(
    "a model",
    {
        "omnisat": ModelInfo(),
        "early": _BASELINE,
        "late": _BASELINE,
        "dual": _BASELINE,
        "published": ModelInfo(kinds=("series", "image"), tasks=("classify",)),
        "skysense": ModelInfo(kinds=("series", "image"), own_encoders=True),
    },
)


def encoders_of(kind: str) -> tuple[str, ...]:
    """Names of the encoders that read a kind of modality."""
    return tuple(name for name, info in ENCODERS.items() if info.kind == kind)


def encoders_with_dense_map() -> tuple[str, ...]:
    """Names of the encoders that return a dense map besides tokens."""
    return tuple(name for name, info in ENCODERS.items() if info.dense_map)
