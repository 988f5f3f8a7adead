"""Encoders of images: sizes, what a token sees, and shared parameters."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.config import schema
from omnisat_jax.models.encoders.image import PatchCNN, ResidualBlock, ResNet, ViT, _pool
from tests import layers_in_numpy as reference
from tests.conftest import tiny
from tests.layers_in_numpy import random_params, run

MODEL = schema.parse(tiny()).model


def image(side=16, batch=2):
    return np.random.default_rng(0).normal(size=(batch, side, side, 3)).astype(np.float32)


def moved(module, values, params):
    """(P,) how far each token moves when the pixels of the last patch change."""
    changed = values.copy()
    changed[:, -module.patch :, -module.patch :] += 1.0
    before, after = (np.asarray(run(module, params, x, train=False).tokens) for x in (values, changed))
    return np.abs(before - after).max((0, 2))


@pytest.mark.parametrize("stem", ["linear", "conv"])
@pytest.mark.parametrize(("side", "patch"), [(80, 40), (24, 8), (30, 10)])
def test_vit_gives_one_token_per_patch(stem, side, patch):
    module = ViT(dataclasses.replace(MODEL.vit, stem=stem), "xla", 16, patch)
    out = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), image(side), train=False)[0])
    assert out.tokens.shape == (2, (side // patch) ** 2, 16) and out.features is None and out.attention is None


def test_tokens_of_a_vit_see_the_whole_image():
    values, module = image(), ViT(MODEL.vit, "xla", 16, 8)
    assert (moved(module, values, random_params(module, values, train=False)) > 1e-4).all()


def test_recomputation_in_a_vit_changes_nothing():
    values = image()
    plain, again = (ViT(MODEL.vit, "xla", 16, 8, remat=remat) for remat in (False, True))
    params = random_params(plain, values, train=False)
    np.testing.assert_allclose(*(run(m, params, values, train=False).tokens for m in (plain, again)), atol=1e-6)


def test_resnet_gives_tokens_and_a_map_of_a_quarter_of_the_resolution():
    config = dataclasses.replace(MODEL.resnet, widths=(4, 8, 12), blocks=2)
    module, values = ResNet(config, 16, 8), image(32)
    out, variables = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), values, train=False))
    assert out.tokens.shape == (2, 16, 16) and out.features.shape == (2, 8, 8, 8)
    assert sum("ResidualBlock" in name for name in variables["params"]) == 4  # two in each level after the stem


@pytest.mark.parametrize(("features", "stride", "projected"), [(4, 1, False), (4, 2, True), (6, 1, True)])
def test_shortcuts_are_projected_where_shapes_differ(features, stride, projected):
    module, x = ResidualBlock(features, stride, "affine", jnp.float32), np.random.default_rng(0).normal(size=(1, 4, 4, 4)).astype(np.float32)
    params = random_params(module, x)
    assert len(params) == (3 if projected else 2)

    def layer(x, name, stride):
        p = params[name]
        amount = (p["conv"]["kernel"].shape[0] - 1) // 2
        out = reference.convolve(x, p["conv"]["kernel"], stride, amount, "zeros") + p["conv"]["bias"]
        return out * p["norm"]["scale"] + p["norm"]["bias"]

    inner = layer(np.maximum(layer(x, "ConvNormAct_0", stride), 0), "ConvNormAct_1", 1)
    expected = np.maximum(inner + (layer(x, "ConvNormAct_2", stride) if projected else x), 0)
    np.testing.assert_allclose(run(module, params, x), expected, rtol=1e-4, atol=1e-4)


def test_patches_of_the_cnn_are_encoded_alone():
    values, module = image(), PatchCNN(MODEL.patch_cnn, 16, 8)
    params = random_params(module, values, train=False)
    distance = moved(module, values, params)
    assert distance[-1] > 1e-3 and distance[:-1].max() < 1e-6


def test_both_norms_of_a_residual_block_share_their_parameters():
    params = random_params(PatchCNN(dataclasses.replace(MODEL.patch_cnn, blocks=2), 16, 8), image(), train=False)
    assert params.keys() == {"stem", *(f"block{i}_{what}" for i in range(2) for what in ("norm", "first", "second"))}


def test_pooling_rounds_down_and_leaves_one_pixel():
    x = np.random.default_rng(0).normal(size=(1, 5, 5, 2)).astype(np.float32)
    expected = [[x[0, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2].max((0, 1)) for c in range(2)] for r in range(2)]
    np.testing.assert_array_equal(_pool(jnp.asarray(x))[0], expected)
    assert _pool(jnp.ones((1, 1, 1, 2))).shape == (1, 1, 1, 2)


@pytest.mark.parametrize("name", ["vit", "resnet", "patch_cnn"])
def test_images_do_not_mix(name):
    module = {
        "vit": ViT(MODEL.vit, "xla", 16, 8),
        "resnet": ResNet(MODEL.resnet, 16, 8),
        "patch_cnn": PatchCNN(MODEL.patch_cnn, 16, 8),
    }[name]
    values = image()
    params = random_params(module, values, train=False)
    together, alone = (run(module, params, x, train=False).tokens for x in (values, values[:1]))
    np.testing.assert_allclose(together[:1], alone, atol=1e-5)
