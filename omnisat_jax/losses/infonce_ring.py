"""InfoNCE over all devices, in memory linear in the number of rows.

No device ever holds all rows. Blocks of keys travel around a ring of devices, those that share a group of tiles. Each device keeps, for its own
rows, the running maximum and sum of exponentials (online softmax, Milakov & Gimelshein 2018; blocks as in Ring Attention, Liu et al. 2023).
Within a block, keys are processed in chunks. The backward pass computes the logits again, chunk by chunk; the gradients of keys travel with
their block and are complete after a full rotation.

Embeddings in bfloat16 are multiplied as such, with sums in float32 (as in FlashAttention, Dao et al. 2022), and travel in half the bytes.

Letters: V views, B tiles (b on one device), P patches, E width, R = V*b*P rows of one device, c rows of one chunk.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from omnisat_jax.losses.infonce import ALL_TILES, NOT_COMPARED, Comparison, combine_positives, resolve_group_size, separate

_CHUNK_ELEMENTS = 2**22  # logits of one chunk held at once, on one device
_CHUNK_ROWS = 128  # chunks have a multiple of these; products of other sizes miss the fast kernels of tensor cores
_TIE_TOLERANCE = 1e-5  # relative; two maxima of the same products may differ by their order of summation


class _Ring(NamedTuple):
    """Static description of the rotation; hashable.

    Attributes:
      axes: all axes of the mesh.
      devices: of the mesh.
      hops: blocks that each device sees, its own included, which is the number of devices in a ring; 1 = no communication.
      how: groups and positives; the group is at least one tile.
    """

    axes: tuple[str, ...]
    devices: int
    hops: int
    how: Comparison


def ring_infonce_loss(
    z: jax.Array,
    present: jax.Array,
    temperature: jax.typing.ArrayLike,
    how: Comparison = ALL_TILES,
    *,
    mesh: jax.sharding.Mesh,
    copies: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """`infonce.infonce_loss` of embeddings whose tiles are sharded over the devices of a mesh.

    Args:
      z: (V,B,P,E) float32 or bfloat16, unit length, B sharded over all axes of `mesh`.
      present: (V,B) bool, sharded alike.
      temperature: scalar.
      how: groups and positives. Groups that lie within one device need no communication.
      mesh: Auto axes; B must be a multiple of its size.
      copies: (V,V,B) bool, B sharded alike: pairs of views that are not compared within a tile; None = no pair.

    Returns:
      loss, accuracy: float32 scalars, equal to the dense ones.

    Raises:
      UserError: B is not a multiple of group.
    """
    how = how._replace(group=resolve_group_size(z.shape[1], how.group))
    ring = _Ring(tuple(mesh.axis_names), mesh.size, hops=mesh.size, how=how)
    axes, local = ring.axes, functools.partial(_local_loss, ring=ring)
    sharded, pairs = PartitionSpec(None, axes), PartitionSpec(None, None, axes)
    run = jax.shard_map(local, mesh=mesh, in_specs=(sharded, sharded, pairs, PartitionSpec()), out_specs=PartitionSpec())
    return run(z, present, separate(z.shape[0], z.shape[1], copies), jnp.asarray(temperature, jnp.float32))


def _local_loss(z, present, apart, temperature, *, ring: _Ring):
    v, b, p, e = z.shape
    group, axes = ring.how.group, ring.axes
    if b % group:
        # A group that fills whole devices has a ring of its own, so a device computes what its group needs, however many devices there are.
        span = group // b if group % b == 0 else ring.devices
        first = lax.axis_index(axes) * b
        sums = _sums(z, present, apart, temperature, first, ring._replace(hops=span))
    else:
        # Groups that lie within this device run one after another, so products of rows that are not compared are never computed.
        groups = (
            z.reshape(v, b // group, group, p, e).swapaxes(0, 1),
            present.reshape(v, b // group, group).swapaxes(0, 1),
            apart.reshape(v, v, b // group, group).transpose(2, 0, 1, 3),
            # The same for each group. As a constant of the loop, JAX would compute all comparisons of its rows at once before the loop and keep them.
            jnp.zeros(b // group, jnp.int32),
        )
        alone = ring._replace(hops=1)

        def group_sums(of_group: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array, jax.Array]:
            z, present, apart, first = of_group
            return _sums(z, present, apart, temperature, first, alone)

        sums = jax.tree.map(jnp.sum, lax.map(group_sums, groups))
    loss, correct, count = lax.psum(sums, axes)
    count = jnp.maximum(count, 1)
    return loss / count, correct / count


def _sums(z, present, apart, temperature, first, ring: _Ring):
    """Sum of row losses, number of correct rows, and number of rows with a positive, over z (V,b,P,E), whose tiles start at `first`.

    apart: (V,V,b) bool, pairs of views that are not compared within a tile.
    """
    v, b, p, e = z.shape
    z = z if z.dtype == jnp.bfloat16 else z.astype(jnp.float32)
    scale = lax.pcast(1 / temperature, ring.axes, to="varying")
    tile = first + lax.pcast(jnp.arange(b), ring.axes, to="varying")
    view = lax.pcast(jnp.arange(v), ring.axes, to="varying")
    bits = (apart << jnp.arange(v)[:, None]).sum(1)  # (V,b) int32, bit u of a row: not compared with view u of its tile
    rows = tuple(
        jnp.repeat(of_tile.reshape(-1), p)
        for of_tile in (jnp.broadcast_to(view[:, None], (v, b)), jnp.tile(tile, (v, 1)), present, bits)
    )
    sums: Any = _ring_logsumexp(z.reshape(-1, e), scale, rows, ring)
    denominator, best = sums

    # Positives, the same patch of the same tile in the other views, are all on this device.
    exact = z.astype(jnp.float32)
    pairs = scale * jnp.einsum("vbpe,ubpe->vubp", exact, exact, precision="highest")
    allowed = present[:, None] & present[None] & ~apart
    counted = jnp.repeat(allowed.any(1).reshape(-1), p)
    pairs, allowed = (
        x.swapaxes(1, 2).swapaxes(2, 3).reshape(-1, v) for x in (pairs, jnp.broadcast_to(allowed[..., None], pairs.shape))
    )
    numerator = combine_positives(pairs, allowed, ring.how.positives)
    highest = jnp.where(allowed, pairs, NOT_COMPARED).max(1)
    correct = counted & (highest >= best - _TIE_TOLERANCE * jnp.abs(best))
    return jnp.where(counted, denominator - numerator, 0).sum(), correct.sum(), counted.sum()


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _ring_logsumexp(z, scale, rows, ring: _Ring):
    """Logsumexp and maximum (R,) of scale z z' over the rows of all devices that each row of z is compared with.

    Args:
      z: (R,E) float32 or bfloat16, of this device.
      scale: scalar float32, one divided by the temperature.
      rows: view (R,), tile in the whole batch (R,), present (R,) bool, and views of the same tile that are not compared, as bits (R,) int32.
      ring: of the devices.
    """
    return _forward(z, scale, rows, ring)[0]


def _forward(z, scale, rows, ring: _Ring):
    def absorb(carry: tuple[jax.Array, jax.Array], chunk: tuple[jax.Array, ...]) -> tuple[tuple[jax.Array, jax.Array], None]:
        top, total = carry
        s = _logits(z, scale, rows, chunk, ring.how.group)
        new = jnp.maximum(top, s.max(1))
        return (new, total * jnp.exp(top - new) + jnp.exp(s - new[:, None]).sum(1)), None

    def hop(carry: Any, _: None) -> tuple[Any, None]:
        block, sums = carry
        sums, _ = lax.scan(absorb, sums, _chunks(block))
        return (_pass_on(block, ring), sums), None

    start = tuple(lax.pcast(jnp.full(len(z), value, jnp.float32), ring.axes, to="varying") for value in (NOT_COMPARED, 0.0))
    (_, (top, total)), _ = lax.scan(hop, ((z, *rows), start), length=ring.hops)
    lse = top + jnp.log(total)
    return (lse, top), (z, scale, rows, lse)


def _backward(ring: _Ring, saved, cotangents):
    z, scale, rows, lse = saved
    weight = cotangents[0][:, None]  # the maximum is used for the accuracy only, which has no gradient

    def absorb(dq: jax.Array, chunk: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        s = _logits(z, scale, rows, chunk, ring.how.group)
        share = (jnp.exp(s - lse[:, None]) * weight).astype(z.dtype)
        # In TF32 on GPUs and three bfloat16 products on TPUs: more exact than the layers before, and several times faster than float32.
        return dq + _matmul(share, chunk[0], "high"), _matmul(share.T, z, "high")

    def hop(carry: Any, _: None) -> tuple[Any, None]:
        block, dk, dq = carry
        dq, chunk_dks = lax.scan(absorb, dq, _chunks(block))
        dk = dk + chunk_dks.reshape(-1, chunk_dks.shape[-1])[: len(dk)]
        return (*_pass_on((block, dk), ring), dq), None

    nothing = jnp.zeros_like(z, jnp.float32)
    (_, dk, dq), _ = lax.scan(hop, ((z, *rows), nothing, nothing), length=ring.hops)
    return (scale * (dq + dk)).astype(z.dtype), (z.astype(jnp.float32) * dq).sum(), None


_ring_logsumexp.defvjp(_forward, _backward)


def _pass_on(block, ring: _Ring):
    """Moves every block to the next device of its ring; after a full rotation each is back on its own."""
    if ring.hops == 1:
        return block
    starts = range(0, ring.devices, ring.hops)
    neighbours = [(start + i, start + (i + 1) % ring.hops) for start in starts for i in range(ring.hops)]
    return jax.tree.map(lambda x: lax.ppermute(x, ring.axes, neighbours), block)


def _chunks(block):
    """The rows of a block as (n,c,...), the last chunk padded with absent rows."""
    count = len(block[0])
    size = min(count, max(1, _CHUNK_ELEMENTS // count // _CHUNK_ROWS) * _CHUNK_ROWS)
    missing = -count % size
    return tuple(jnp.pad(x, ((0, missing), *[(0, 0)] * (x.ndim - 1))).reshape(-1, size, *x.shape[1:]) for x in block)


def _logits(z, scale, rows, chunk, group):
    """(R,c) float32: scaled products of this device's rows with those of a chunk; NOT_COMPARED for pairs that are left out."""
    _, tile, _, apart = rows
    keys, key_view, key_tile, key_present, _ = chunk
    hidden = ((apart[:, None] >> key_view) & 1).astype(bool) & (tile[:, None] == key_tile)
    compared = key_present & ~hidden & (tile[:, None] // group == key_tile // group)
    return jnp.where(compared, scale * _matmul(z, keys.T), NOT_COMPARED)


def _matmul(a, b, precision="highest"):
    """The product in float32: of bfloat16 numbers exact but for the sum, whatever the precision, which is of products of float32 numbers."""
    return jnp.matmul(a, b, precision=precision if a.dtype == jnp.float32 else None, preferred_element_type=jnp.float32)
