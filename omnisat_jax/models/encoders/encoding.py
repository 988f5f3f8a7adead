"""The interface of the encoders. Letters: B batch, T dates, H W pixels, h w cells, C channels, P patches, D width.

An encoder is a Flax module with float32 parameters that is called with normalized inputs of one modality:

  series:   encoder(values (B,T,H,W,C), dates (B,T) int32 days, valid (B,T) bool, train=...)
  image:    encoder(values (B,H,W,C), train=...)
  location: encoder(values (B,2) longitude and latitude in degrees, train=...)

Unknown values are 0. An encoder of a series must ignore dates that are not valid, and return finite numbers if there is no valid one.
"""

from typing import NamedTuple

import jax


class Encoding(NamedTuple):
    """One modality, encoded.

    Attributes:
      tokens: (B,P,D), one token per patch, row by row; (B,1,D) for a location.
      features: dense map (B,h,w,C) at the encoder's own resolution, or None.
      attention: (B,T,h,w) float32, the attention that each date received in each cell of the encoder's grid, averaged over heads; None
        for modalities without dates.
    """

    tokens: jax.Array
    features: jax.Array | None = None
    attention: jax.Array | None = None
