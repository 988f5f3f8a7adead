"""Encoders of series (temporal-first, U-TAE, patch L-TAE) and of the image (ViT, ResNet, patch CNN), in every combination.

    python launch.py --study=configs/studies/encoders.py
"""

from configs.base import ConfigDict
from configs.studies import base


def get_config() -> ConfigDict:
    """The study."""
    s = base.study("encoders", baseline="utae_resnet")
    for series in ("utae", "temporal_first", "patch_ltae"):
        for image in ("resnet", "vit", "patch_cnn"):
            changes = [f"modalities.{name}.encoder={series}" for name in ("s2", "s1a", "s1d")]
            base.add(s, f"{series}_{image}", "", *changes, f"modalities.spot.encoder={image}")
    return s
