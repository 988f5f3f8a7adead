"""What an encoder makes of one modality. Letters: B batch, T dates, h w pixels, C channels, P patches, D width."""

from typing import NamedTuple

import jax


class Encoding(NamedTuple):
    """One modality, encoded.

    Attributes:
      tokens: (B,P,D), one a patch.
      features: dense map (B,h,w,C) at the encoder's own resolution, or None.
      date_weights: (B,T) float32, the attention each date received, mean over places and heads; None for what has no dates.
    """

    tokens: jax.Array
    features: jax.Array | None = None
    date_weights: jax.Array | None = None
