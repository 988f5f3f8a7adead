"""The contrastive loss over all devices, in memory linear in the number of rows.

No device ever holds all rows: blocks of keys travel around the ring of devices, and each device keeps, a row of its own, the running maximum and
sum of exponentials (online softmax, Milakov & Gimelshein 2018; blocks as in Ring Attention, Liu et al. 2023). Inside a block keys come in chunks. The
backward pass computes the logits again, chunk by chunk, and gradients of keys travel on with their block until they are home.

Letters: V views, B tiles (b on one device), P patches, E width, R = V*b*P rows of one device.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from omnisat_jax.errors import UserError

_NEVER = -1e30
_CHUNK_ELEMENTS = 2**22  # logits held at once, on one device


def ring_infonce_loss(z, present, temperature, *, mesh, group: int = 0):
    """`contrastive.infonce_loss` of embeddings whose tiles are cut over the devices of a mesh.

    Args:
      z: (V,B,P,E) float32 or bfloat16, unit length, B cut over all axes of `mesh`.
      present: (V,B) bool, cut alike.
      temperature: scalar.
      mesh: Auto axes; B must be a multiple of its size.
      group: tiles that are contrasted together; 0 = all. Groups that lie within one device need no communication.

    Returns:
      loss, accuracy: float32 scalars, equal to the dense ones.

    Raises:
      UserError: B is not a multiple of group.
    """
    tiles = z.shape[1]
    if tiles % (group or tiles):
        raise UserError(f"a batch of {tiles} tiles cannot be cut into groups of {group}: change contrastive.group_size or the batch size")
    axes = tuple(mesh.axis_names)
    local = functools.partial(_local_loss, axes=axes, devices=mesh.size, group=group or tiles)
    cut = PartitionSpec(None, axes)
    run = jax.shard_map(local, mesh=mesh, in_specs=(cut, cut, PartitionSpec()), out_specs=PartitionSpec())
    return run(z, present, jnp.asarray(temperature, jnp.float32))


def _local_loss(z, present, temperature, *, axes, devices, group):
    v, b, p, e = z.shape
    if b % group:
        first = lax.axis_index(axes) * b
        sums = _sums(z, present, temperature, first, (axes, devices, devices, group))
    else:
        # Groups that lie within this device, one after another: no product of rows that are not compared is ever made.
        each = z.reshape(v, b // group, group, p, e).swapaxes(0, 1), present.reshape(v, b // group, group).swapaxes(0, 1)
        one = functools.partial(_sums, temperature=temperature, first=0, ring=(axes, devices, 1, group))
        sums = jax.tree.map(jnp.sum, lax.map(lambda pair: one(*pair), each))
    loss, correct, count = lax.psum(sums, axes)
    count = jnp.maximum(count, 1)
    return loss / count, correct / count


def _sums(z, present, temperature, first, ring):
    """Sum of losses, of rows whose nearest one is a positive, and of rows that have a positive, over z (V,b,P,E), tiles `first` and on."""
    v, b, p, e = z.shape
    axes = ring[0]
    keys = z.astype(jnp.float32)
    queries = keys / temperature
    tile = first + lax.pcast(jnp.arange(b), axes, to="varying")
    view = lax.pcast(jnp.arange(v), axes, to="varying")
    rows = (jnp.repeat(view, b * p), jnp.tile(jnp.repeat(tile, p), v), jnp.repeat(present.reshape(-1), p))
    denominator, best = _ring_logsumexp(queries.reshape(-1, e), keys.reshape(-1, e), rows, ring)

    # Positives, the same patch of the same tile in the other views, are all on this device.
    pairs = jnp.einsum("vbpe,ubpe->vubp", queries, keys, precision="highest")
    allowed = present[:, None] & present[None] & ~jnp.eye(v, dtype=bool)[:, :, None]
    pairs = jnp.where(allowed[..., None], pairs, _NEVER)
    numerator = jax.nn.logsumexp(pairs, axis=1).reshape(-1)
    counted = jnp.repeat(allowed.any(1).reshape(-1), p)
    # Both maxima are of the same products, summed in another order.
    correct = counted & (pairs.max(1).reshape(-1) >= best - 1e-5 * jnp.abs(best))
    return jnp.where(counted, denominator - numerator, 0).sum(), correct.sum(), counted.sum()


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _ring_logsumexp(q, k, rows, ring):
    """Logsumexp and maximum (R,) of q k' over the rows of all devices that each row of q is compared with.

    Args:
      q, k: (R,E) float32, of this device.
      rows: view (R,), tile in the whole batch (R,), here (R,) bool.
      ring: axes, devices, hops to make, tiles a group.
    """
    return _forward(q, k, rows, ring)[0]


def _forward(q, k, rows, ring):
    axes, devices, hops, group = ring

    def absorb(carry, chunk):
        top, total = carry
        s = _logits(q, rows, chunk, group)
        new = jnp.maximum(top, s.max(1))
        return (new, total * jnp.exp(top - new) + jnp.exp(s - new[:, None]).sum(1)), None

    def hop(carry, _):
        block, sums = carry
        sums, _ = lax.scan(absorb, sums, _chunks(block))
        return (_pass_on(block, axes, devices, hops), sums), None

    start = tuple(lax.pcast(jnp.full(len(q), value, jnp.float32), axes, to="varying") for value in (_NEVER, 0.0))
    (_, (top, total)), _ = lax.scan(hop, ((k, *rows), start), length=hops)
    lse = top + jnp.log(total)
    return (lse, top), (q, k, rows, lse)


def _backward(ring, saved, cotangents):
    axes, devices, hops, group = ring
    q, k, rows, lse = saved
    weight = cotangents[0][:, None]  # the maximum serves the accuracy alone, which has no gradient

    def absorb(dq, chunk):
        s = _logits(q, rows, chunk, group)
        share = jnp.exp(s - lse[:, None]) * weight
        return dq + _matmul(share, chunk[0]), _matmul(share.T, q)

    def hop(carry, _):
        block, dk, dq = carry
        dq, parts = lax.scan(absorb, dq, _chunks(block))
        dk = dk + parts.reshape(-1, parts.shape[-1])[: len(dk)]
        return (*_pass_on((block, dk), axes, devices, hops), dq), None

    start = (k, *rows), jnp.zeros_like(k), jnp.zeros_like(q)
    (_, dk, dq), _ = lax.scan(hop, start, length=hops)
    return dq, dk, None


_ring_logsumexp.defvjp(_forward, _backward)


def _pass_on(block, axes, devices, hops):
    """Every block one device further; after as many hops as devices all are home."""
    if hops == 1:
        return block
    ring = [(i, (i + 1) % devices) for i in range(devices)]
    return jax.tree.map(lambda x: lax.ppermute(x, axes, ring), block)


def _chunks(block):
    """A block's rows as (n, c, ...), the last chunk filled up with rows that are not there."""
    count = len(block[0])
    size = min(count, max(64, _CHUNK_ELEMENTS // count))
    missing = -count % size
    return tuple(jnp.pad(x, ((0, missing), *[(0, 0)] * (x.ndim - 1))).reshape(-1, size, *x.shape[1:]) for x in block)


def _logits(q, rows, chunk, group):
    """(R,c) products of this device's rows with a chunk's; -1e30 for what is not compared."""
    view, tile, _ = rows
    keys, their_view, their_tile, here = chunk
    own = (view[:, None] == their_view) & (tile[:, None] == their_tile)
    compared = here & ~own & (tile[:, None] // group == their_tile // group)
    return jnp.where(compared, _matmul(q, keys.T), _NEVER)


def _matmul(a, b):
    return jnp.matmul(a, b, precision="highest")
