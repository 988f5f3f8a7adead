"""Which settings can be run: choices, and what must hold between keys. Errors name the key, what was expected and what was found."""

import difflib

from omnisat_jax.errors import UserError


class ConfigError(UserError):
    """A configuration that cannot be run; the message names the key, what was expected and what was found."""


CHOICES = {
    "task": ("segment", "classify"),
    "data.protocol": ("auto", "official_5fold", "single_split", "tile_f1", "leave_one_fold_out", "fixed"),
    "data.on_bad": ("raise", "skip", "mask"),
    "data.statistics": ("all", "clear"),
    "data.augment": ("d4", "none"),
    "model.precision": ("auto", "float32", "bfloat16"),
    "model.norm": ("image", "pixel"),
    "model.utae.border": ("reflect", "zeros"),
    "model.vit.stem": ("linear", "conv"),
    "model.fusion.attention": ("xla", "cudnn"),
    "contrast.implementation": ("ring", "dense"),
    "model.assembly": ("omnisat", "early", "late", "dual", "published", "skysense"),
    "eval.probe": ("none", "linear", "knn"),
}


def nearest(word, candidates):
    """' Did you mean ...?' for the closest candidate, or the list of all of them."""
    close = difflib.get_close_matches(word, candidates, n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(sorted(candidates))}."


def _lookup(experiment, key):
    for part in key.split("."):
        experiment = getattr(experiment, part)
    return experiment


def _check_assembly(e, need):
    """What only some whole models can do."""
    kind = e.model.assembly
    if kind in ("early", "late", "dual"):
        others = [spec.name for spec in e.modalities if spec.kind != "series"]
        need(not others, f"model.assembly {kind!r} takes series only, found {', '.join(others)}")
        need(
            not e.pretrain.steps, f"model.assembly {kind!r} has no pre-training: set pretrain.steps to 0, found {e.pretrain.steps}"
        )
        patches = {spec.patch for spec in e.modalities}
        need(len(patches) == 1, f"model.assembly {kind!r} takes series of one resolution, found patches of {sorted(patches)} px")
    if kind == "published":
        need(e.task == "classify", f"model.assembly 'published' has no dense head: set task to 'classify', found {e.task!r}")
        places = [spec.name for spec in e.modalities if spec.kind == "location"]
        need(not places, f"model.assembly 'published' takes series and images, found {', '.join(places)}")


def _check_pretraining(e, need):
    """What contrast and reconstruction need."""
    scope = e.contrast.scope
    valid = scope == "global" or (scope.startswith("group:") and scope[6:].isdigit() and int(scope[6:]) > 1)
    need(valid, f"contrast.scope must be 'global' or 'group:K' with K of at least 2, found {scope!r}")
    if e.contrast.group:
        need(
            e.pretrain.batch_size % e.contrast.group == 0,
            f"pretrain.batch_size {e.pretrain.batch_size} must be a multiple of the group in contrast.scope {scope!r}",
        )
    known = ("pixel", "patch", "tile")
    parts = e.contrast.granularities
    need(
        set(parts) <= set(known) and len(set(parts)) == len(parts),
        f"contrast.granularity must join some of {', '.join(known)} by '+', found {e.contrast.granularity!r}",
    )
    strangers = [name for name in e.contrast.views if name not in {spec.name for spec in e.modalities}]
    need(not strangers, f"contrast.views must name configured modalities, found {', '.join(strangers)}")
    spreads = e.contrast.jitter, e.contrast.jitter_days
    need(min(spreads) >= 0, f"contrast.jitter and contrast.jitter_days must be 0 or more, found {spreads[0]} and {spreads[1]}")
    need(e.contrast.weight >= 0 and e.reconstruction.weight >= 0, "contrast.weight and reconstruction.weight must be 0 or more")
    need(
        e.contrast.weight + e.reconstruction.weight > 0 or not e.pretrain.steps,
        "contrast.weight and reconstruction.weight are both 0: pre-training has nothing to learn; set pretrain.steps to 0",
    )
    for key in ("mask_ratio", "date_share"):
        value = getattr(e.reconstruction, key)
        need(0 < value <= 1, f"reconstruction.{key} must be in (0, 1], found {value}")
    need(e.contrast.temperature > 0, f"contrast.temperature must be positive, found {e.contrast.temperature}")


def check(e):
    """Raises ConfigError where the settings `e` (schema.Experiment) cannot be run."""

    def need(condition, message):
        if not condition:
            raise ConfigError(message)

    for key, allowed in CHOICES.items():
        found = _lookup(e, key)
        need(found in allowed, f"{key} must be one of {', '.join(allowed)}, found {found!r}.{nearest(str(found), allowed)}")
    grounds = {spec.name: spec.ground for spec in e.modalities if spec.kind != "location"}
    need(grounds, "modalities names no sensor: name at least one, beside a location")
    need(
        max(grounds.values()) - min(grounds.values()) < 1e-6 * max(grounds.values()),
        "patch * resolution must be the same ground distance for every modality, found (m) "
        + ", ".join(f"{name} {ground:g}" for name, ground in grounds.items()),
    )
    model = e.model
    need(model.width % 4 == 0, f"model.width must be divisible by 4, found {model.width}")
    for key, heads in (("fusion", model.fusion.heads), ("vit", model.vit.heads)):
        need(model.width % heads == 0, f"model.{key}.heads must divide model.width {model.width}, found {heads}")
    need(
        model.ltae.width % (2 * model.ltae.heads) == 0,
        f"model.ltae.width must be divisible by 2 * model.ltae.heads, found {model.ltae.width} and {model.ltae.heads}",
    )
    widths = model.utae
    need(
        len(widths.encoder_widths) == len(widths.decoder_widths) >= 2,
        "model.utae.encoder_widths and decoder_widths must have the same length, at least 2, found "
        f"{widths.encoder_widths} and {widths.decoder_widths}",
    )
    _check_assembly(e, need)
    for name in ("pretrain", "finetune"):
        stage = getattr(e, name)
        need(stage.steps >= 0, f"{name}.steps must be 0 or more, found {stage.steps}")
        need(stage.batch_size > 0, f"{name}.batch_size must be positive, found {stage.batch_size}")
        need(
            stage.parts > 0 and stage.batch_size % stage.parts == 0,
            f"{name}.parts must be positive and divide {name}.batch_size {stage.batch_size}, found {stage.parts}",
        )
        need(0 <= stage.modality_dropout < 1, f"{name}.modality_dropout must be in [0, 1), found {stage.modality_dropout}")
        need(0 <= stage.warmup < 1, f"{name}.warmup must be in [0, 1), found {stage.warmup}")
        need(
            stage.log_every > 0 and stage.save_every > 0 and stage.keep > 0,
            f"{name}.log_every, save_every and keep must be positive",
        )
    _check_pretraining(e, need)
    need(e.eval.monitor_tiles >= 0, "eval.monitor_tiles must be a number of tiles, or 0 for none")
    need(e.eval.probe_tokens > 0 and e.eval.probe_neighbours > 0, "eval.probe_tokens and eval.probe_neighbours must be positive")
    need(
        e.data.protocol != "tile_f1" or e.task == "classify",
        f"data.protocol 'tile_f1' scores labels of tiles: set task to 'classify', found {e.task!r}",
    )
    need(0 <= e.data.max_bad <= 1, f"data.max_bad must be a share from 0 to 1, found {e.data.max_bad}")
    need(0 < e.data.label_share <= 1, f"data.label_share must be in (0, 1], found {e.data.label_share}")
    need(
        not e.pretrain_from or e.pretrain.steps,
        "pretrain_from names a run, but pretrain.steps is 0: there is nothing to take from it; clear one of them",
    )
    need(e.data.fold >= 1, f"data.fold counts from 1, found {e.data.fold}")
    need(e.eval.batch_size > 0, f"eval.batch_size must be positive, found {e.eval.batch_size}")
    need(e.data.threads > 0 and e.data.buffer > 0, "data.threads and data.buffer must be positive")
