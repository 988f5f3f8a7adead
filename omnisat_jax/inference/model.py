"""A trained model to be used: probabilities and embeddings of raw measurements, from any subset of its modalities.

    from omnisat_jax import Model
    model = Model.from_pretrained("runs/pastis/model")
    probabilities = model.probabilities({"s2": (values, dates), "spot": image})

Needs jax, flax, numpy, safetensors and xxhash, and no other package.
Letters: B tiles, T dates, H W pixels, C bands, K classes, P patches, D width of a token, M modalities.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from omnisat_jax.batch import normalise
from omnisat_jax.errors import UserError, reason
from omnisat_jax.inference.bucket_models import downloaded
from omnisat_jax.inference.hub import exact_source, local_folder
from omnisat_jax.inference.inputs import InputError, make_inputs
from omnisat_jax.inference.model_folder import load_model
from omnisat_jax.inference.model_info import SensorInfo, TrainedModel
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.models.shapes import abstract_inputs, trained_grid
from omnisat_jax.ops.patches import resize
from omnisat_jax.parallel.compilation import options_for
from omnisat_jax.types import Params, StrPath


@dataclasses.dataclass(frozen=True)
class Embedding:
    """What a model makes of tiles before it predicts.

    Attributes:
      tokens: (P,D) float32, or (B,P,D) of several tiles; the fused token of each patch, row by row.
      dense: (H,W,D) float32, or (B,H,W,D); the same tokens on their grid, resized bilinearly to label pixels. For tile labels, which
        have no pixels, H and W count patches.
    """

    tokens: np.ndarray
    dense: np.ndarray


class Model:
    """A trained model. The first call with a new size or number of tiles compiles; later ones of equal shape do not.

    Attributes:
      trained: the module, parameters, statistics and configuration behind it.
      source: where it was read from, "" = it was made in this process.
    """

    def __init__(self, trained: TrainedModel, source: str = ""):
        self.trained, self.source = trained, source
        self._params = jax.tree.map(jnp.asarray, trained.params)
        self._grid = trained_grid(trained.params)
        options = options_for(jax.default_backend())
        self._probabilities: Callable = jax.jit(self._compute_probabilities, compiler_options=options)
        self._embedding: Callable = jax.jit(self._compute_embedding, compiler_options=options)
        self._both: Callable = jax.jit(self._compute_both, compiler_options=options)

    @classmethod
    def from_pretrained(cls, folder: StrPath) -> "Model":
        """Reads a model folder, such as `runs/NAME/model` of a finished run, or one of a bucket or of the Hugging Face hub.

        Args:
          folder: a folder, or "hf:ORG/NAME" or "hf:ORG/NAME@REVISION": a branch, tag or commit; the default is main. A repository is
            downloaded once. Without a network, or with HF_HUB_OFFLINE=1, the copy in the cache is used, and a warning names its
            commit. Needs the extra `hub`. Or gs://BUCKET/RUN/model (extra `gcs`), whose files are read anew each time.

        Raises:
          BucketError: the bucket cannot be read.
          ModelError: the folder is missing, damaged, incomplete or of a later version; lists everything that is wrong.
          HubError: no such repository or revision, no access, or no network and no copy in the cache.
        """
        with downloaded(folder) as found:
            local = local_folder(found)
            return cls(load_model(local), exact_source(folder, local))

    @property
    def modalities(self) -> tuple[ModalitySpec, ...]:
        """The modalities that the model takes, in its order."""
        return self.trained.module.specs

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities."""
        return self.trained.classes

    @property
    def task(self) -> str:
        """ "segment" (a class for every pixel) or "classify" (any number of labels for a tile)."""
        return self.trained.module.task

    @property
    def label_patch(self) -> int:
        """Label pixels per token side; 0 for tile labels."""
        return self.trained.module.label_patch

    @property
    def sensors(self) -> Mapping[str, SensorInfo]:
        """{modality: bands, scale, days and dates that the model was trained on}."""
        return self.trained.sensors

    @property
    def window(self) -> int | None:
        """Tokens per side of a training tile; None = not known."""
        return self.trained.window

    @property
    def only_window(self) -> int | None:
        """Tokens per side of the only tiles that the model takes; None = tiles of any size."""
        return self._grid

    @property
    def colours(self) -> tuple[str, ...]:
        """ "#rrggbb" of each class; () for a default palette."""
        return self.trained.colours

    @property
    def temperature(self) -> float:
        """Logits are divided by it before they become probabilities; 1 where nothing was calibrated."""
        return self.trained.temperature

    @property
    def simulated(self) -> bool | None:
        """Whether the model was trained on simulated data; None = not known."""
        return self.trained.simulated

    @property
    def citation(self) -> str:
        """How to cite the data that the model was trained on; "" = not known."""
        return self.trained.citation

    @property
    def checksum(self) -> str:
        """Identifies the model: its configuration, statistics and weights."""
        return self.trained.checksum

    def __repr__(self) -> str:
        count = sum(leaf.size for leaf in jax.tree.leaves(self._params))
        names = ", ".join(spec.name for spec in self.modalities)
        return f"Model({self.task}, modalities: {names}, classes: {len(self.classes)}, parameters: {count:,})"

    def probabilities(self, inputs: Mapping[str, Any]) -> np.ndarray:
        """Returns the probability of each class: softmax (segment) or sigmoid (classify) of logits / temperature.

        Values are taken as the dataset stores them: reflectance x 10,000, decibels, digital numbers. The model normalizes them with the
        statistics of its training tiles; no other scaling is recognized or corrected. A value is unknown if it is masked (`numpy.ma`),
        NaN, infinite or larger than 1e30, or -32768 in a signed integer of 16 bits or more. A date without a known value is left out,
        and a modality without one counts as absent.

        Tiles are treated as in the evaluation of a run. Long series are reduced to `dates_eval` evenly spaced dates. Days count from
        `data.origin`; if that is "season" or "year", it follows from the dates of all series given. The order of dates does not matter.
        A model with `model.published.mask_padding` off sees padded dates: it predicts what a run evaluates only if `dates_eval` is set and
        the dataset has as many dates.

        Args:
          inputs: any subset of the modalities, at least one sensor among them:
            series: (values, dates) or (values, dates, valid). values (T,H,W,C), any integer or floating-point type; dates (T,) as
              datetime64, datetime.date or integers, which count days since 1970-01-01; valid (T,) bool, False for images to ignore,
              whose date may be NaT.
            image: (H,W,C), any integer or floating-point type.
            location: (2,) longitude and latitude in degrees.
            For B tiles at once everything has a leading axis B; dates and valid need none if all tiles share them. Tiles are square,
            made of whole patches, and cover the same ground in every sensor. They should have the size of the training tiles.

        Returns:
          float32. Segment: (H,W,K), which sums to 1 over K. Classify: (K,), independent of each other. With a leading B for B tiles.

        Raises:
          InputError: an unknown modality, another number of axes, bands, tiles or dates, sides that patches do not divide, another
            ground than the first sensor's, values that are not dates, a location out of range, or a tile without a known value.
        """
        return self._run(self._probabilities, inputs)

    def embed(self, inputs: Mapping[str, Any]) -> Embedding:
        """Returns what the model makes of tiles before it predicts: the tokens that a probe reads.

        Args:
          inputs: see `probabilities`.

        Raises:
          InputError: see `probabilities`.
        """
        return Embedding(*self._run(self._embedding, inputs))

    def predict_batch(self, batch: Mapping[str, Any]) -> np.ndarray:
        """Returns the probabilities of a batch that is already in the form of `omnisat_jax.batch`, for programs that cut windows themselves.

        Args:
          batch: every modality of the model; values float32 as stored, NaN where unknown.

        Returns:
          float32 (B,H,W,K), or (B,K) of tile labels. Nothing is checked.
        """
        return jax.device_get(self._probabilities(self._params, batch))

    def predict_and_embed(self, batch: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the probabilities and the fused tokens of a batch; the encoders run once for both.

        Args:
          batch: see `predict_batch`.

        Returns:
          What `predict_batch` returns, up to rounding, and float32 (B,P,D), the tokens row by row. Nothing is checked.
        """
        return jax.device_get(self._both(self._params, batch))

    def embedding_width(self, window: int) -> int:
        """D, found without computing anything.

        Args:
          window: tokens per side of a tile.

        Raises:
          UserError: the model takes no tiles of this size.
        """
        try:
            return jax.eval_shape(self._compute_tokens, self._params, abstract_inputs(self.modalities, window)).shape[-1]
        except (TypeError, ValueError) as error:  # of layers that cannot halve or pad so few pixels
            raise UserError(f"expected tiles that this model can embed, found {window} x {window} patches ({reason(error)})") from error

    def _run(self, program: Callable, inputs):
        """What a program returns for inputs, on the host, without the batch axis where none was given."""
        config = self.trained.config
        entries, batched = make_inputs(inputs, self.modalities, config.data.origin, self._grid)
        try:
            out = program(self._params, entries)
        except (TypeError, ValueError) as error:  # of layers that cannot halve or pad so few pixels
            raise InputError(f"expected tiles large enough for this model, found smaller ones ({reason(error)})") from error
        out = jax.device_get(out)
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(out)):
            raise InputError("expected finite predictions, found others: measurements may be far out of the range of training")
        return out if batched else jax.tree.map(lambda leaf: leaf[0], out)

    def _encode(self, params: Params, entries):
        """What the module makes of the modalities, and which of them each tile has (B,M)."""
        inputs = normalise(entries, self.trained.statistics, self.trained.module.names)
        encoded = self._apply(params, inputs, method="encode")
        return encoded, jnp.stack([entry["present"] for entry in inputs.values()], 1)

    def _apply(self, params: Params, *inputs, method: str) -> Any:
        return self.trained.module.apply({"params": params}, *inputs, train=False, method=method)

    def _compute_probabilities(self, params: Params, entries):
        return self._probabilities_of(params, self._encode(params, entries))

    def _probabilities_of(self, params: Params, encoded):
        logits = self._apply(params, *encoded, method="predict") / self.trained.temperature
        return jax.nn.softmax(logits, -1) if self.task == "segment" else jax.nn.sigmoid(logits)

    def _tokens_of(self, params: Params, encoded):
        return self._apply(params, *encoded, method="tokens").astype(jnp.float32)

    def _compute_tokens(self, params: Params, entries):
        return self._tokens_of(params, self._encode(params, entries))

    def _compute_both(self, params: Params, entries):
        encoded = self._encode(params, entries)
        return self._probabilities_of(params, encoded), self._tokens_of(params, encoded)

    def _compute_embedding(self, params: Params, entries):
        tokens = self._compute_tokens(params, entries)
        batch, patches, width = tokens.shape
        grid = round(patches**0.5)
        side = grid * (self.trained.module.label_patch or 1)
        return tokens, resize(tokens.reshape(batch, grid, grid, width), side)
