"""What a batch is: names, shapes, dtypes and masks, in one place; and how stored numbers become model input.

Letters: B batch, T dates, H W pixels, C channels, K classes.

A batch is a dict:
  <series>: {"values" (B,T,H,W,C) as stored, "dates" (B,T) int32, "valid" (B,T) bool, "present" (B,) bool}
  <image>:  {"values" (B,H,W,C) as stored, "present" (B,) bool}
  <location>: {"values" (B,2) float32 longitude and latitude in degrees, "present" (B,) bool}
  "labels": (B,H,W) uint8 classes, or (B,K) float32
  "tile_index": (B,) int32, position in Records.tile_ids
  "weight": (B,) float32, 0 for the samples that fill up the last batch of an evaluation
Missing numbers inside a present image are int16's minimum or NaN.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from omnisat_jax.errors import UserError

NO_DATA_INT16 = np.iinfo(np.int16).min


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
      {name: {"values" float32, "dates", "valid", "present"}} with valid = valid and present.
    """
    return {name: _normalise_one(batch[name], statistics[name]) for name in names}


def _normalise_one(entry, statistics):
    raw, present = entry["values"], entry["present"]
    if raw.ndim == 2:
        return {"values": jnp.where(present[:, None], raw, 0.0), "present": present}
    mean = jnp.asarray(statistics["mean"], jnp.float32)
    std = jnp.asarray(statistics["std"], jnp.float32)
    if raw.dtype == jnp.int16:
        known = raw != NO_DATA_INT16
    elif jnp.issubdtype(raw.dtype, jnp.floating):
        known = jnp.isfinite(raw)
    else:
        known = jnp.ones(raw.shape, bool)
    out = {"present": present}
    if "valid" in entry:
        valid = entry["valid"] & present[:, None]
        known = known & valid[:, :, None, None, None]
        out |= {"dates": jnp.where(valid, entry["dates"], 0), "valid": valid}
    else:
        known = known & present[:, None, None, None]
    out["values"] = jnp.where(known, (raw.astype(jnp.float32) - mean) / std, 0.0)
    return out


def presence(batch, names):
    """(B, M) bool: which modalities each sample has, in the order of `names`."""
    return jnp.stack([batch[name]["present"] for name in names], axis=1)


def with_presence(batch, names, present):
    """The batch with its presence replaced by present (B, M)."""
    return batch | {name: batch[name] | {"present": present[:, i]} for i, name in enumerate(names)}
