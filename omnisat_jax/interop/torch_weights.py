"""Weights of the original PyTorch code (U-TAE, OmniSat) as Flax modules and parameters.

U-TAE: Garnot & Landrieu, ICCV 2021. OmniSat: Astruc et al., ECCV 2024. In the shapes below, letters are B batch, T dates, H W pixels (h w at
the bottom of the U-Net), C channels, K classes, N heads, P patches, D width.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from omnisat_jax.config import schema
from omnisat_jax.errors import printable
from omnisat_jax.files.problems import Problems, WeightsError
from omnisat_jax.interop.networks import LARGEST, network_shapes, shapes_in
from omnisat_jax.interop.state_dict import StateDict, read_state_dict
from omnisat_jax.models.baselines import UTAESegmenter
from omnisat_jax.models.layers.relative_attention import BUCKETS
from omnisat_jax.models.published_encoder import PublishedEncoder, PublishedImageEncoder, PublishedSeriesEncoder
from omnisat_jax.models.shapes import compare
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

Variables = dict[str, Any]  # {"params": nested names -> float32 arrays}
Entries = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class _Conv:
    """A convolution of the original: side of its kernel, channels in and out, and whether BatchNorm or GroupNorm follows it."""

    side: int
    inputs: int
    outputs: int
    batch_norm: bool = False


def load_utae(
    path: StrPath, *, n_head: int = 16, d_model: int = 256, d_k: int = 4, faithful: bool = True
) -> tuple[UTAESegmenter, Variables]:
    """Loads the original U-TAE with trained weights.

    Args:
      path: .safetensors with the original names, or the authors' .pth.tar (needs the extra "torch").
      n_head, d_model, d_k: heads, width and key width per head of its temporal attention. All other widths are read from the file.
      faithful: see `UTAESegmenter`.

    Returns:
      (module, variables): `module.apply(variables, values, dates, valid, return_attention=True)` with values (B,T,H,W,C) gives
      logits (B,H,W,K) and attention (N,B,T,h,w).

    Raises:
      WeightsError: listing every entry that is missing, unknown or of another shape.
    """
    _check_options(path, n_head=n_head, d_model=d_model, d_k=d_k)
    ltae = schema.LTAEConfig(heads=n_head, key_dim=d_k, width=d_model, period=1000.0, dropout=0.2, attention_dropout=0.1)
    state = StateDict(_unwrapped(read_state_dict(path)), path)
    levels = 0
    while f"down_blocks.{levels}.down.conv.0.weight" in state:
        levels += 1
    first, channels = state.shape("in_conv.conv.conv.0.weight", 4)[:2]
    encoder = (first, *(state.shape(f"down_blocks.{i}.conv1.conv.0.weight", 4)[0] for i in range(levels)))
    # The original counts decoder blocks from the bottom, our levels count from the top.
    decoder = (*(state.shape(f"up_blocks.{levels - 1 - i}.conv1.conv.0.weight", 4)[0] for i in range(levels)), encoder[-1])
    head, classes = (state.shape(f"out_conv.conv.conv.{i}.weight", 4)[0] for i in (0, 3))
    stream = {
        "frames": _frames(state, channels, encoder),
        "ltae": _ltae(state, "temporal_encoder", ltae, encoder[-1], (encoder[-1],), expand=True),
    }
    up = {}
    for level in range(levels):
        block = _up(state, f"up_blocks.{levels - 1 - level}", decoder[level], decoder[level + 1], encoder[level])
        up |= {f"up{level}_{name}": value for name, value in block.items()}
    params = {
        "network": {"stream": stream, "decoder": up},
        "head": {
            "hidden": _block(state, "out_conv.conv.conv", 0, _Conv(3, decoder[0], head, batch_norm=True)),
            "logits": _block(state, "out_conv.conv.conv", 3, _Conv(3, head, classes, batch_norm=True)),
        },
    }
    state.finish()
    module = UTAESegmenter(
        schema.UTAEConfig(encoder_widths=encoder, decoder_widths=decoder, border="reflect"),
        ltae,
        head_width=head,
        num_classes=classes,
        norm="affine",
        faithful=faithful,
    )
    return _fitting(path, module, {"params": params})


def load_omnisat_encoders(
    path: StrPath, *, patch: Mapping[str, int], n_head: int = 16, d_k: int = 8, period: float = 734
) -> dict[str, tuple[nn.Module, Variables]]:
    """Loads the published encoder of each modality with trained weights.

    Args:
      path: .safetensors with the original names, or the authors' .ckpt (needs the extra "torch"). Of a checkpoint of training, only the
        entries under "encoder." are read.
      patch: {modality as the file names it: pixels per token side}, e.g. {"s2": 4, "s1-asc": 4, "aerial": 40}; "_" may stand for "-".
      n_head, d_k: heads and key width per head of temporal attention. All other widths are read from the file.
      period: base of the date sinusoid in days.

    Returns:
      {modality as in `patch`: (module, variables)}. Series modules take (values (B,T,H,W,C), dates, valid=None), image modules
      (values (B,H,W,C)); each gives tokens (B,P,D).

    Raises:
      WeightsError: listing every entry that is missing, unknown or of another shape; or a modality that is not in the file.
    """
    _check_options(path, n_head=n_head, d_k=d_k, patch=patch, period=period)
    state = StateDict(_encoder_entries(_unwrapped(read_state_dict(path))), path)
    encoders = _encoders(state, n_head, d_k, patch, period)
    state.finish(ignore=lambda name: not name.startswith("projector_"))
    return {name: _fitting(path, *encoder) for name, encoder in encoders.items()}


def load_omnisat(
    path: StrPath, *, patch: Mapping[str, int], n_head: int = 16, d_k: int = 8, period: float = 734, published: bool = True
) -> tuple[PublishedEncoder, Variables]:
    """Loads the whole published encoder with trained weights.

    Args:
      path, patch, n_head, d_k, period: see `load_omnisat_encoders`.
      published: keep the defect of the published relative positions, with which the weights were trained (`token_buckets`).

    Returns:
      (module, variables): `module.apply(variables, {modality: (values, dates) or values})` gives (B,P+1,D), the tile first.

    Raises:
      WeightsError: listing every entry that is missing, unknown or of another shape.
    """
    _check_options(path, n_head=n_head, d_k=d_k, patch=patch, period=period)
    state = StateDict(_encoder_entries(_unwrapped(read_state_dict(path))), path)
    encoders = _encoders(state, n_head, d_k, patch, period)
    # The published code concatenates images first, then Sentinel-2 (the one with an input norm), then Sentinel-1.
    order = sorted(encoders, key=lambda name: _published_rank(encoders[name][0], name))
    width, patches = state.shape("cls_token", 3)[-1], state.shape("pos_embed", 3)[1] - 1
    depth = 0
    while f"blocks.{depth}.attn.qkv.weight" in state:
        depth += 1
    tables, size = state.shape(f"blocks.{depth}.attn.rpe_k.lookup_table_weight", 3)[:2]
    if width % size or depth == 0:
        raise WeightsError(f"{path}: expected heads of {size} of {number_of(width, 'channel')} and self-attention blocks, found {number_of(depth, 'block')}")
    fusion = {"depth": depth, "heads": width // size, "patches": patches, "shared": tables == 1, "published": published}
    params = {f"encoder_{name}": encoders[name][1]["params"] for name in order}
    params["fusion"] = _fusion(state, depth, width, patches, (tables, size))
    state.finish()
    return _fitting(path, PublishedEncoder(tuple((name, encoders[name][0]) for name in order), fusion), {"params": params})


def _check_options(path, *, patch=None, period=1.0, **widths):
    """Refuses options that no network has, before the file is read."""
    wrong = [f"{name} from 1 to {LARGEST}, found {value!r}" for name, value in widths.items() if not _natural(value)]
    if patch is not None:
        wrong += [f"patch of {name!r} from 1 to {LARGEST}, found {side!r}" for name, side in patch.items() if not _natural(side)]
        wrong += [] if patch else ["patch to name a modality, found none"]
    if isinstance(period, bool) or not isinstance(period, int | float) or not 0 < period < 1e9:
        wrong.append(f"period above 0 and below 1e9 days, found {period!r}")
    if wrong:
        raise WeightsError(printable(f"{path}: expected {'; '.join(wrong)}", None))


def _natural(value):
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST


def _fitting(path, module, variables):
    """Returns the module and its variables after a check that they belong together.

    Raises:
      WeightsError: entries that fit each other, but not a network that can be run.
    """
    found, problems = shapes_in(variables), Problems(path, WeightsError, noun="parameter", verbs=("does not fit", "do not fit"))
    with problems.gathered(type(module).__name__):
        compare(network_shapes(module, found), found, problems, type(module).__name__)
    problems.finish()
    return module, variables


def _published_rank(module, name):
    image = isinstance(module, PublishedImageEncoder)
    return (0 if image else 1 if module.normalise_input else 2, name)


def _fusion(state: StateDict, depth: int, width: int, patches: int, table: tuple[int, int]):
    """The combiner; table: its tables of relative positions and their width."""
    hidden = state.shape("blocks.0.mlp.fc1.weight", 2)[0]
    params = {
        "position": state.take("pos_embed", (1, patches + 1, width))[0],
        "tile": state.take("cls_token", (1, 1, width))[0],
        "query": state.take(f"blocks.{depth}.attn.q_learned", (1, 1, width))[0],
        "query_position": state.take(f"blocks.{depth}.attn.pos_embed", (1, patches + 1, width))[0],
        "cross_key": state.dense(f"blocks.{depth}.attn.wk", width, width),
        "cross_value": state.dense(f"blocks.{depth}.attn.wv", width, width),
    }
    for index in range(depth + 1):
        ours, theirs = ("cross" if index == depth else f"block{index}"), f"blocks.{index}"
        if index < depth:
            params[f"{ours}_qkv"] = state.dense(f"{theirs}.attn.qkv", width, 3 * width)
        params[f"{ours}_attention"] = {
            "table": state.take(f"{theirs}.attn.rpe_k.lookup_table_weight", (*table, BUCKETS)),
            "out": state.dense(f"{theirs}.attn.proj", width, width),
        }
        params[f"{ours}_norm1"] = state.norm(f"{theirs}.norm1", width)
        params[f"{ours}_norm2"] = state.norm(f"{theirs}.norm2", width)
        params[f"{ours}_mlp0"] = state.dense(f"{theirs}.mlp.fc1", width, hidden)
        params[f"{ours}_mlp1"] = state.dense(f"{theirs}.mlp.fc2", hidden, width)
    return params


def _encoders(state, heads, key_dim, patch, period):
    encoders = {}
    for name, side in patch.items():
        prefix = next((p for p in (f"projector_{name}", f"projector_{name.replace('_', '-')}") if state.any(p)), None)
        if prefix is None:
            raise WeightsError(
                f"{state.source}: no encoder of modality {name!r}; found {', '.join(state.names('projector_')) or 'none'}"
            )
        if f"{prefix}.proj.0.weight" in state:
            encoders[name] = _patch_cnn(state, prefix, side)
        else:
            encoders[name] = _patch_ltae(state, prefix, side, heads, key_dim, period)
    return encoders


def _patch_ltae(state: StateDict, name, patch, heads, key_dim, period):
    widths = [state.shape(f"{name}.inconv.{4 * i}.weight", 2)[0] for i in range(3)]
    mlp = [state.shape(f"{name}.mlp.{3 * i}.weight", 2)[0] for i in range(3)]
    inputs = state.shape(f"{name}.inconv.0.weight", 2)[1]
    ltae = schema.LTAEConfig(
        heads=heads, key_dim=key_dim, width=widths[-1], period=float(period), dropout=0.2, attention_dropout=0.1
    )
    params = {"ltae": _ltae(state, name, ltae, widths[-1], mlp, expand=False)}
    for index, (before, after) in enumerate(zip((inputs, *widths), widths)):
        params[f"in{index}"] = state.dense(f"{name}.inconv.{4 * index}", before, after)
        params[f"in{index}_norm"] = state.batch_norm(f"{name}.inconv.{4 * index + 1}", after)
    # The original flattens a patch channel by channel, ours pixel by pixel.
    channels = inputs // patch**2
    if channels * patch**2 != inputs:
        raise WeightsError(
            f"{state.source}: {name} reads {inputs} numbers per patch, which patches of {patch}x{patch} px cannot give"
        )
    kernel = params["in0"]["kernel"].reshape(channels, patch, patch, -1)
    params["in0"]["kernel"] = kernel.transpose(1, 2, 0, 3).reshape(inputs, -1)
    config = schema.PatchLTAEConfig(input_widths=tuple(widths[:-1]), output_widths=tuple(mlp[:-1]))
    module = PublishedSeriesEncoder(config, ltae, mlp[-1], patch, f"{name}.in_norm.weight" in state)
    return module, {"params": {"encoder": params}}


def _patch_cnn(state: StateDict, name, patch):
    width, channels = state.shape(f"{name}.proj.0.weight", 4)[:2]
    blocks = [index for index in range(4, 40, 2) if f"{name}.proj.{index}.conv1.weight" in state]
    params: dict[str, Any] = {"stem": _block(state, f"{name}.proj", 0, _Conv(3, channels, width, batch_norm=True))}
    for number, index in enumerate(blocks):
        params[f"block{number}_first"] = state.conv(f"{name}.proj.{index}.conv1", 3, width, width, bias=False)
        params[f"block{number}_second"] = state.conv(f"{name}.proj.{index}.conv2", 3, width, width, bias=False)
        params[f"block{number}_norm"] = state.norm(f"{name}.proj.{index}.bn", width)
    module = PublishedImageEncoder(schema.PatchCNNConfig(blocks=len(blocks)), width, patch)
    return module, {"params": {"encoder": params}}


def _unwrapped(entries: Entries) -> Entries:
    """Entries without the prefixes that wrappers (DataParallel, Lightning) put before every name."""
    for prefix in ("module.", "model."):
        if entries and all(name.startswith(prefix) for name in entries):
            entries = {name.removeprefix(prefix): value for name, value in entries.items()}
    return entries


def _encoder_entries(entries: Entries) -> Entries:
    """The encoder's entries of a whole pre-training or fine-tuning model, without its decoder or head; otherwise all entries."""
    inside = {name.removeprefix("encoder."): value for name, value in entries.items() if name.startswith("encoder.")}
    return inside or entries


def _block(state: StateDict, name: str, index: int, conv: _Conv):
    """A convolution at `index` of a Sequential, and the norm after it."""
    norm = state.batch_norm if conv.batch_norm else state.norm
    return {
        "conv": state.conv(f"{name}.{index}", conv.side, conv.inputs, conv.outputs),
        "norm": norm(f"{name}.{index + 1}", conv.outputs),
    }


def _frames(state: StateDict, channels: int, widths: tuple[int, ...]):
    """The way down of U-TAE."""
    frames = {
        "in0": _block(state, "in_conv.conv.conv", 0, _Conv(3, channels, widths[0])),
        "in1": _block(state, "in_conv.conv.conv", 3, _Conv(3, widths[0], widths[0])),
    }
    for level, (before, after) in enumerate(zip(widths[:-1], widths[1:])):
        name = f"down_blocks.{level}"
        frames[f"down{level}_half"] = _block(state, f"{name}.down.conv", 0, _Conv(4, before, before))
        frames[f"down{level}_first"] = _block(state, f"{name}.conv1.conv", 0, _Conv(3, before, after))
        frames[f"down{level}_second"] = _block(state, f"{name}.conv2.conv", 0, _Conv(3, after, after))
    return frames


def _ltae(state: StateDict, name: str, config: schema.LTAEConfig, channels: int, mlp, *, expand: bool):
    """L-TAE.

    Args:
      state: of the whole network.
      name: of the L-TAE in it.
      config: its widths.
      channels: of its input.
      mlp: outputs of the dense layers after attention.
      expand: whether a dense layer comes before attention.
    """
    params = {
        "query": state.take(f"{name}.attention_heads.Q", (config.heads, config.key_dim)),
        "key": state.dense(f"{name}.attention_heads.fc1_k", config.width, config.heads * config.key_dim),
        "out_norm": state.norm(f"{name}.out_norm", mlp[-1]),
    }
    if f"{name}.in_norm.weight" in state:
        params["in_norm"] = state.norm(f"{name}.in_norm", channels)
    if expand:
        params["expand"] = state.dense(f"{name}.inconv", channels, config.width, shape=(config.width, channels, 1))
    for index, (before, after) in enumerate(zip((config.width, *mlp), mlp)):
        params[f"mlp{index}"] = state.dense(f"{name}.mlp.{3 * index}", before, after)
        params[f"mlp{index}_norm"] = state.batch_norm(f"{name}.mlp.{3 * index + 1}", after)
    return params


def _up(state: StateDict, name: str, outputs: int, below: int, skip: int):
    """A level of the way up of U-TAE: channels it gives, of the level below and of the skip connection."""
    return {
        "double": state.conv_transpose(f"{name}.up.0", 4, below, outputs),
        "double_norm": state.batch_norm(f"{name}.up.1", outputs),
        "skip": _block(state, f"{name}.skip_conv", 0, _Conv(1, skip, skip, batch_norm=True)),
        "first": _block(state, f"{name}.conv1.conv", 0, _Conv(3, outputs + skip, outputs, batch_norm=True)),
        "second": _block(state, f"{name}.conv2.conv", 0, _Conv(3, outputs, outputs, batch_norm=True)),
    }
