"""A batch: the names, shapes, dtypes and masks of its arrays, and how stored numbers become model input.

Letters: B batch, T dates, H W pixels, C channels, K classes, M modalities.

A batch is a dict:
  <series>: {"values" (B,T,H,W,C) as stored, "dates" (B,T) int32 days, "valid" (B,T) bool, "present" (B,) bool}
  <image>:  {"values" (B,H,W,C) as stored, "present" (B,) bool}
  <location>: {"values" (B,2) float32 longitude and latitude in degrees, "present" (B,) bool}
  "labels": (B,H,W) uint8 classes, or (B,K) float32
  "tile_index": (B,) int32, position in Records.tile_ids
  "weight": (B,) float32, 0 for the samples that pad the last batch of an evaluation

`missing.measured` decides which numbers are unknown. A date without a known number is not valid, and a modality without one is absent, whatever
"valid" and "present" say.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from omnisat_jax.errors import UserError
from omnisat_jax.missing import measured
from omnisat_jax.types import Batch, PyTree, Statistics


@dataclasses.dataclass(frozen=True)
class ModalityLayout:
    """Static shape and dtype of one modality in a batch.

    Attributes:
      name: of the modality.
      dates: T of a series; 0 for an image or a location.
      shape: of one image of one sample, (H, W, C), or (2,) for a location.
      dtype: of the values as stored.
    """

    name: str
    dates: int
    shape: tuple[int, ...]
    dtype: str


@dataclasses.dataclass(frozen=True)
class BatchLayout:
    """Static shapes and dtypes of a whole batch.

    Attributes:
      modalities: one layout per modality, in model order.
      labels: shape of one sample's labels, (H, W) or (K,).
      labels_dtype: "uint8" or "float32".
    """

    modalities: tuple[ModalityLayout, ...]
    labels: tuple[int, ...]
    labels_dtype: str

    def abstract(self, size: int, sharding: jax.sharding.Sharding | None = None) -> dict[str, Any]:
        """The ShapeDtypeStructs of a batch of `size` samples; the training loop compiles for exactly these."""

        def leaf(shape: tuple[int, ...], dtype: str) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((size, *shape), np.dtype(dtype), sharding=sharding)

        batch: dict[str, Any] = {}
        for m in self.modalities:
            batch[m.name] = {"values": leaf((m.dates, *m.shape) if m.dates else m.shape, m.dtype), "present": leaf((), "bool")}
            if m.dates:
                batch[m.name] |= {"dates": leaf((m.dates,), "int32"), "valid": leaf((m.dates,), "bool")}
        batch["labels"] = leaf(self.labels, self.labels_dtype)
        batch["tile_index"] = leaf((), "int32")
        batch["weight"] = leaf((), "float32")
        return batch


def check_batch(batch: Batch, layout: BatchLayout, size: int) -> None:
    """Refuses a batch of another structure, shape or dtype, which would be recompiled for or misread.

    Raises:
      UserError: naming the entry, the expected and the found shape or dtype.
    """
    expected = jax.tree_util.tree_flatten_with_path(layout.abstract(size))[0]
    found = dict(jax.tree_util.tree_flatten_with_path(batch)[0])
    for path, want in expected:
        have = found.pop(path, None)
        name = jax.tree_util.keystr(path)
        if have is None:
            raise UserError(f"batch{name}: expected {want.dtype} {want.shape}, found nothing")
        if have.shape != want.shape or have.dtype != want.dtype:
            raise UserError(f"batch{name}: expected {want.dtype} {want.shape}, found {have.dtype} {have.shape}")
    if found:
        raise UserError(f"batch{jax.tree_util.keystr(next(iter(found)))}: not part of the batch layout")


def normalise(batch: Batch, statistics: Statistics, names: Sequence[str]) -> dict[str, "Known"]:
    """Model input from stored numbers, on the device.

    Every value is standardised with the training statistics of its band. Everything unknown (no-data pixels, invalid dates, absent
    modalities) becomes 0, the mean of the band, before anything is computed from it. A location stays in degrees.

    Args:
      batch: see the module's docstring.
      statistics: {modality: {"mean" (C,), "std" (C,)}}.
      names: modalities to keep, in model order.

    Returns:
      {name: {"values" float32, "dates", "valid", "present"}}, masked as by `known_only`.
    """
    return {name: _normalise_one(batch[name], statistics[name]) for name in names}


def _normalise_one(entry: Mapping[str, jax.Array], statistics: Mapping[str, ArrayLike]) -> "Known":
    if entry["values"].ndim == 2:
        return known_only(entry)
    mean = jnp.asarray(statistics["mean"], jnp.float32)
    # On CPUs XLA replaces the division by a constant in the same way, so results do not depend on whether statistics are constants or arguments.
    scale = 1 / jnp.asarray(statistics["std"], jnp.float32)
    return _known(entry, lambda values: (values.astype(jnp.float32) - mean) * scale)


@jax.tree_util.register_pytree_with_keys_class
class Known(dict):
    """An entry of a batch whose unknown values are masked, as `known_only` returns it.

    A changed copy (`entry | {...}`) is a plain dict, whose values may be unknown again.
    """

    def tree_flatten_with_keys(self) -> tuple[list[tuple[Any, PyTree]], tuple[str, ...]]:
        """Children with their keys, as those of a dict, and the names of the keys."""
        names = sorted(self)
        return [(jax.tree_util.DictKey(name), self[name]) for name in names], tuple(names)

    @classmethod
    def tree_unflatten(cls, names: tuple[str, ...], children: Sequence[PyTree]) -> "Known":
        """The inverse of `tree_flatten_with_keys`."""
        return cls(zip(names, children))


def known_only(entry: Mapping[str, jax.Array]) -> Known:
    """Masks every unknown value of one modality. Nothing else decides what is absent.

    Args:
      entry: as in a batch, stored or normalized; "valid" and "dates" for a series only.

    Returns:
      The entry, where
        present: it was present and something is known;
        valid (series): the date was valid, its modality present, and something is known of that date;
        dates (series): 0 where not valid;
        values: 0 where unknown.
    """
    return entry if isinstance(entry, Known) else _known(entry, lambda values: values)


def _known(entry: Mapping[str, jax.Array], of_values: Callable[[jax.Array], jax.Array]) -> Known:
    """`known_only` with of_values(values) in place of the known values."""
    values = entry["values"]
    known = measured(values)
    if values.ndim == 2:
        known = known.all(1, keepdims=True)  # a location needs both numbers
    # The barriers keep this computation apart from the encoders, so that the compiler makes the same program of those, bit for bit,
    # whatever is decided here.
    if "valid" not in entry:
        present = jax.lax.optimization_barrier(entry["present"] & _any(known, 1))
        alone = (slice(None), *(None,) * (values.ndim - 1))  # (B,) against values
        return Known(present=present, values=jnp.where(known & present[alone], of_values(values), 0))
    valid = entry["valid"] & entry["present"][:, None] & _any(known, 2)
    valid, present = jax.lax.optimization_barrier((valid, valid.any(1)))
    return Known(
        present=present,
        dates=jnp.where(valid, entry["dates"], 0),
        valid=valid,
        values=jnp.where(known & valid[:, :, None, None, None], of_values(values), 0),
    )


def _any(mask: jax.Array, axis: int) -> jax.Array:
    """Whether a mask is true anywhere in the axes from `axis` on."""
    return mask.any(tuple(range(axis, mask.ndim)))


def presence(batch: Batch, names: Sequence[str]) -> jax.Array:
    """(B,M) bool: which modalities each sample has, in the order of `names`: present, and with a known value."""
    return jnp.stack([known_only(batch[name])["present"] for name in names], axis=1)
