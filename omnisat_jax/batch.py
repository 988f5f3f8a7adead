"""What a batch is: names, shapes, dtypes and masks, in one place; and how stored numbers become model input.

Letters: B batch, T dates, H W pixels, C channels, K classes.

A batch is a dict:
  <series>: {"values" (B,T,H,W,C) as stored, "dates" (B,T) int32, "valid" (B,T) bool, "present" (B,) bool}
  <image>:  {"values" (B,H,W,C) as stored, "present" (B,) bool}
  <location>: {"values" (B,2) float32 longitude and latitude in degrees, "present" (B,) bool}
  "labels": (B,H,W) uint8 classes, or (B,K) float32
  "tile_index": (B,) int32, position in Records.tile_ids
  "weight": (B,) float32, 0 for the samples that fill up the last batch of an evaluation
Unknown numbers are int16's minimum, NaN, infinite, or larger than FILL (undeclared fill values such as -3.4e38).
A date without a known number is not valid, and a modality without one is absent, whatever "valid" and "present" say.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from omnisat_jax.errors import UserError
from omnisat_jax.missing import FILL, NO_DATA_INT16


@dataclasses.dataclass(frozen=True)
class Layout:
    """Static form of one modality in a batch: dates is 0 for what is no series."""

    name: str
    dates: int
    shape: tuple[int, ...]
    dtype: str


@dataclasses.dataclass(frozen=True)
class BatchLayout:
    """Static form of a whole batch.

    Attributes:
      modalities: one Layout a modality, in model order.
      labels: shape of one sample's labels, (H, W) or (K,).
      labels_dtype: "uint8" or "float32".
    """

    modalities: tuple[Layout, ...]
    labels: tuple[int, ...]
    labels_dtype: str

    def abstract(self, size: int, sharding=None):
        """ShapeDtypeStructs of a batch of `size` samples; the loop compiles for exactly these."""

        def leaf(shape, dtype):
            return jax.ShapeDtypeStruct((size, *shape), np.dtype(dtype), sharding=sharding)

        batch = {}
        for m in self.modalities:
            batch[m.name] = {"values": leaf((m.dates, *m.shape) if m.dates else m.shape, m.dtype), "present": leaf((), "bool")}
            if m.dates:
                batch[m.name] |= {"dates": leaf((m.dates,), "int32"), "valid": leaf((m.dates,), "bool")}
        batch["labels"] = leaf(self.labels, self.labels_dtype)
        batch["tile_index"] = leaf((), "int32")
        batch["weight"] = leaf((), "float32")
        return batch


def check_batch(batch, layout: BatchLayout, size: int):
    """Refuses a batch of another form, which would recompile or mislead.

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


def normalise(batch, statistics, names):
    """Model input from stored numbers, on the device.

    Every value is standardised by its band's training statistics; whatever is unknown (no-data pixels, invalid dates,
    absent modalities, whatever stands there) becomes 0, the band's mean, before it can touch anything else. A location stays in degrees.

    Args:
      batch: see the module's text.
      statistics: {modality: {"mean" (C,), "std" (C,)}}.
      names: modalities to keep, in model order.

    Returns:
      {name: {"values" float32, "dates", "valid", "present"}} with valid and present as `known_only` gives them.
    """
    return {name: _normalise_one(batch[name], statistics[name]) for name in names}


def _normalise_one(entry, statistics):
    if entry["values"].ndim == 2:
        return known_only(entry)
    mean = jnp.asarray(statistics["mean"], jnp.float32)
    std = jnp.asarray(statistics["std"], jnp.float32)
    return _known(entry, lambda values: (values.astype(jnp.float32) - mean) / std)


@jax.tree_util.register_pytree_with_keys_class
class Known(dict):
    """An entry of which `known_only` is left. A changed copy of one (`entry | {...}`) is an entry like any other."""

    def tree_flatten_with_keys(self):
        """Children with their keys, as of a dict."""
        names = sorted(self)
        return [(jax.tree_util.DictKey(name), self[name]) for name in names], tuple(names)

    @classmethod
    def tree_unflatten(cls, names, children):
        """The inverse."""
        return cls(zip(names, children))


def known_only(entry) -> Known:
    """Masks every unknown value of one modality. This is the only place that decides what is absent.

    Args:
      entry: as in a batch, stored or normalised; "valid" and "dates" of a series only.

    Returns:
      The entry with present = present and something is known; of a series valid = valid, present and something of the date is known, and
      dates 0 where not valid; values 0 where unknown.
    """
    return entry if isinstance(entry, Known) else _known(entry, lambda values: values)


def _known(entry, of_values):
    """`known_only` with of_values(values) in place of the known values."""
    values = entry["values"]
    known = _measured(values)
    if values.ndim == 2:
        known = known.all(1, keepdims=True)  # half a place is none
    # The barriers keep the decision out of what the compiler makes of the encoders: they are the program that they were, to the bit.
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


def _measured(values):
    """Which stored or normalised numbers are measurements."""
    if values.dtype == jnp.int16:
        return values != NO_DATA_INT16
    if jnp.issubdtype(values.dtype, jnp.floating):
        return jnp.abs(values.astype(jnp.float32)) <= FILL
    return jnp.ones(values.shape, bool)


def _any(mask, axis):
    """Whether a mask is true anywhere in the axes from `axis` on."""
    return mask.any(tuple(range(axis, mask.ndim)))


def presence(batch, names):
    """(B, M) bool: which modalities each sample has, in the order of `names`: there, and with a known value."""
    return jnp.stack([known_only(batch[name])["present"] for name in names], axis=1)


def with_presence(batch, names, present):
    """The batch with its presence replaced by present (B, M)."""
    return batch | {name: batch[name] | {"present": present[:, i]} for i, name in enumerate(names)}
