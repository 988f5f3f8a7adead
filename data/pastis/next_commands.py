"""Commands to try after a run on simulated PASTIS-HD. They work as printed, from any folder."""

import os
import shlex

from omnisat_jax.config.schema import ExperimentConfig
from omnisat_jax.files.addresses import scheme_of
from omnisat_jax.files.paths import unwritable


def next_commands(config: ExperimentConfig, folder: str, launcher: str) -> list[tuple[str, str]]:
    """What to do with the model of a run on simulated PASTIS-HD, as (why, command); [] for other runs.

    Args:
      config: of the run.
      folder: of the run.
      launcher: path of launch.py, whose folder is the checkout.
    """
    if config.data.dataset != "pastis" or config.data.raw_dir or config.data.prepared_dir or config.eval.probe != "none":
        return []
    program = os.path.abspath(launcher)
    root, here = os.path.split(program)[0], os.getcwd()
    elsewhere = os.path.realpath(here) != os.path.realpath(root)
    module = f"PYTHONPATH={shlex.quote(root)} python -m" if elsewhere else "python -m"
    launch, configuration = (shlex.quote(program), os.path.join(root, "configs/pastis.py")) if elsewhere else ("launch.py", "configs/pastis.py")
    work, options = "runs", ""
    if unwritable(work) and not scheme_of(folder):  # beside the run, which could be written
        work = os.path.dirname(os.path.abspath(folder))
        options = f" --workdir={shlex.quote(f'{work}/demo')} --config.data.cache_dir={shlex.quote(config.data.cache_dir)}"
    scene, out = shlex.quote(f"{work}/scene"), shlex.quote(f"{work}/map")
    names = [spec.name for spec in config.modalities]
    inputs = [f"--series {name}={shlex.quote(f'{work}/scene/{name}')}" for name in names if name in ("s2", "s1a", "s1d")]
    inputs += [f"--image spot={shlex.quote(f'{work}/scene/spot.tif')}"] if "spot" in names else []
    ablation = configuration if config.name != "pastis_demo" else f"{configuration}:no_pretrain"
    return [
        ("simulate the imagery of another place, as dated GeoTIFFs (seconds)", f"{module} data.pastis.scene {scene}"),
        ("map it with this model (a minute)", f"{module} omnisat_jax.predict --model {shlex.quote(f'{folder}/model')} {' '.join(inputs)} --out {out}"),
        (
            "the demo, to compare with" if config.name != "pastis_demo" else "the same without pre-training, to compare with",
            f"python {launch} --config={shlex.quote(ablation)}{options}",
        ),
    ]
