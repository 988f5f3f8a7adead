"""Tokens read without fine-tuning: the frozen evaluation of a run, and what is watched while pre-training goes on."""

import jax

from omnisat_jax.experiment.context import RunContext
from omnisat_jax.modalities import subsets as all_subsets
from omnisat_jax.parallel import hosts
from omnisat_jax.parallel import mesh as meshes
from omnisat_jax.report import representation
from omnisat_jax.report import results as reporting
from omnisat_jax.tasks.base import LabelInfo
from omnisat_jax.tasks.probe import Collector, ProbeScores, TokenReader, fit
from omnisat_jax.train.checkpoints import abstract_like
from omnisat_jax.train.evaluator import evaluate
from omnisat_jax.train.step import run_once
from omnisat_jax.train.warmstart import warm_start


def probe(s: RunContext, trained: dict | None) -> dict:
    """Fits the probe of eval.probe on the training parts, all modalities present, and scores every subset on the test parts.

    Args:
      trained: parameters of pre-training, or None without any.

    Returns:
      {"subsets": of the pre-trained weights, "floor": of random ones}; without pre-training, the random ones alone as "subsets".
    """
    reader = TokenReader(s.model, s.statistics)
    sample = s.input_spec.evaluation.abstract(1)
    root = jax.random.key(s.config.seed)
    shapes = jax.eval_shape(reader.init, root, sample)

    def create(key):
        return reader.init(key, jax.tree.map(lambda x: jax.numpy.zeros(x.shape, x.dtype), sample))

    random = run_once(create, s.place(shapes), root)
    abstract = abstract_like(shapes, s.place(shapes))
    subsets = all_subsets(s.names)
    with s.console.status("compiling", spinner="dots"):
        read_all = s.compile_evaluation(reader, abstract, 1)
        read_each = s.compile_evaluation(reader, abstract, len(subsets))

    def score(params):
        scores = _fitted(s, read_all, params, s.config.eval.probe, 1.0)
        batches, masks = s.evaluation_batches(s.split.test), s.masks(subsets)
        values = evaluate(read_each, params, batches, masks, scores, meshes.batch_sharding(s.mesh))
        return reporting.entries(subsets, values, scores)

    floor = score(random)
    if trained is None:
        return {"subsets": floor}
    params, report = warm_start(random, trained)
    s.console.print(f"from pre-training: {report}", highlight=False)
    return {"subsets": score(params), "floor": floor}


def _fitted(s: RunContext, read, params, kind, share) -> ProbeScores:
    """Fresh scores of a probe that was fitted to a share of the training tiles; `read` is compiled for all modalities.

    Frozen tokens are read as in evaluation: all dates, no augmentation.
    """
    settings, tiles = s.config.eval, max(1, round(share * len(s.records.tiles(s.split.train))))
    collector = Collector(len(s.input_spec.classes), settings.probe_tokens, tiles, s.config.seed, s.records.tile_ids)
    batches = s.evaluation_batches(s.split.train, s.void_parcels, share)
    tokens, targets = evaluate(read, params, batches, s.masks([s.names]), collector, meshes.batch_sharding(s.mesh))
    predict = fit(kind, tokens, targets, dense=s.config.task == "segment", neighbours=settings.probe_neighbours)
    labels = LabelInfo(s.input_spec.classes, s.records.ignore, s.records.unscored)
    return ProbeScores(predict, labels, threshold=settings.threshold, tile_names=s.records.tile_ids)


class Monitor:
    """What the tokens of pre-training tell of the labels, which pre-training itself never sees.

    A k-NN that knows at most eval.monitor_tiles training tiles is scored on as many validation tiles, the same ones every time, and pictures of
    their tokens are drawn.
    """

    def __init__(self, s: RunContext, abstract_params):
        self._s = s
        reader = TokenReader(s.model, s.statistics)
        self._read = s.compile_evaluation(reader, abstract_params, 1)
        shares = {parts: self._share(parts) for parts in (s.split.train, s.split.validation)}
        self._labelled = all(s.records.label_counts(parts, share, s.config.seed).any() for parts, share in shares.items())
        if not self._labelled:
            s.console.print("[yellow]pre-training is not watched: none of its eval.monitor_tiles tiles has a label")

    def _share(self, parts):
        return min(1.0, self._s.config.eval.monitor_tiles / len(self._s.records.tiles(parts)))

    def __call__(self, params, step) -> dict:
        """{"knn_...": score} of `params` on the validation tiles; pictures go to <folder>/pretrain."""
        s = self._s
        if not self._labelled:
            return {}
        scores = _fitted(s, self._read, params, "knn", self._share(s.split.train))
        shown = representation.Collector(s.records.tile_ids)
        batches = s.evaluation_batches(s.split.validation, share=self._share(s.split.validation))
        watch = (lambda host, result: shown(result)) if hosts.is_leader() else None
        sharding = meshes.batch_sharding(s.mesh)
        values = evaluate(self._read, params, batches, s.masks([s.names]), scores, sharding, watch=watch)[0]
        if hosts.is_leader():
            title = f"{s.config.name}, {'simulated' if s.records.about['simulated'] else 'real'} data, step {step} of pre-training"
            shown.save(s.folder / "pretrain", s.input_spec.classes, s.records.colours, title)
        return {f"knn_{key}": value for key, value in values.items() if isinstance(value, float)}
