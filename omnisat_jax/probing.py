"""The frozen evaluation of a run: the tokens of pre-training, and those of random weights as the floor, read by a probe."""

import jax

from omnisat_jax.modalities import subsets as all_subsets
from omnisat_jax.parallel import mesh as meshes
from omnisat_jax.report import results as reporting
from omnisat_jax.setting import Setting
from omnisat_jax.tasks.probe import Collector, ProbeScores, TokenReader, fit
from omnisat_jax.train.checkpoint import abstract_like
from omnisat_jax.train.evaluate import evaluate
from omnisat_jax.train.warmstart import warm_start


def probe(s: Setting) -> dict:
    """Fits the probe of eval.probe on the training parts, all modalities present, and scores every subset on the test parts.

    Returns:
      {"subsets": of the pre-trained weights, "floor": of random ones}; without pre-training, the random ones alone as "subsets".
    """
    reader = TokenReader(s.model, s.statistics)
    sample = s.agreement.evaluation.abstract(1)
    root = jax.random.key(s.config.seed)
    shapes = jax.eval_shape(reader.init, root, sample)

    def create(key):
        return reader.init(key, jax.tree.map(lambda x: jax.numpy.zeros(x.shape, x.dtype), sample))

    random = jax.jit(create, out_shardings=s.place(shapes))(root)
    abstract = abstract_like(shapes, s.place(shapes))
    subsets = all_subsets(s.names)
    with s.console.status("compiling", spinner="dots"):
        read_all = s.compile_evaluation(reader, abstract, 1)
        read_each = s.compile_evaluation(reader, abstract, len(subsets))
    sharding = meshes.batch_sharding(s.mesh)
    settings = s.config.eval

    def score(params):
        tiles = len(s.records.tiles(s.split.train))
        collector = Collector(len(s.agreement.classes), settings.probe_tokens, tiles, s.config.seed)
        # Frozen tokens are read as in evaluation: all dates, no augmentation.
        batches = s.evaluation_batches(s.split.train, s.void_parcels)
        tokens, targets = evaluate(read_all, params, batches, s.masks([s.names]), collector, sharding)
        dense = s.config.task == "segment"
        predict = fit(settings.probe, tokens, targets, dense=dense, neighbours=settings.probe_neighbours)
        about = {"ignore": s.records.ignore, "threshold": settings.threshold, "unscored": s.records.unscored}
        scores = ProbeScores(predict, s.agreement.classes, **about)
        values = evaluate(read_each, params, s.evaluation_batches(s.split.test), s.masks(subsets), scores, sharding)
        return reporting.entries(subsets, values, scores)

    floor = score(random)
    if not s.config.pretrain.steps:
        return {"subsets": floor}
    params, report = warm_start(random, s.trained("pretrain")[1])
    s.console.print(f"from pre-training: {report}", highlight=False)
    return {"subsets": score(params), "floor": floor}
