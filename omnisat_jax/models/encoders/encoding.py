"""What an encoder makes of one modality. Letters: B batch, T dates, h w pixels or places, C channels, P patches, D width."""

from typing import NamedTuple

import jax


class Encoding(NamedTuple):
    """One modality, encoded.

    Attributes:
      tokens: (B,P,D), one a patch.
      features: dense map (B,h,w,C) at the encoder's own resolution, or None.
      attention: (B,T,h,w) float32, what each date received at each place of the encoder's grid, mean over heads; None for what has no dates.
    """

    tokens: jax.Array
    features: jax.Array | None = None
    attention: jax.Array | None = None
