"""The transform of the tiny configuration."""

from omnisat_jax.input.spec import resolve_input_spec
from omnisat_jax.input.transforms import MakeBatch


def make_batch(records, config, training=True, **changes):
    """The transform of a configuration, and its layout."""
    spec = resolve_input_spec(config, records.info)
    common = dict(grid=spec.grid, origin=config.data.origin, random=training, augment=True, ignore=19)
    layout = spec.train if training else spec.evaluation
    return MakeBatch(layout=layout, crop=spec.crop if training else spec.grid, **(common | changes)), layout
