"""python launch.py --config=configs/pastis.py: prepares data, pre-trains, fine-tunes and evaluates OmniSat.

Any key of the configuration can be changed by its path: --config.finetune.steps=500. configs/base.py lists all of them.
The same command again continues where the last one stopped.
"""

import re
import sys

from omnisat_jax.cli import signals
from omnisat_jax.cli.command import run_command

# Slow modules are imported where they are used, so that Ctrl-C during an import ends in one sentence as well.


def program(argv: list[str]) -> int:
    """Runs the whole command, from its arguments to its exit code."""
    from absl import app

    define_flags()
    app.run(main, argv=argv, flags_parser=parse)  # raises SystemExit with what main returns
    return 0


def define_flags() -> None:
    """Defines every option of the command."""
    from absl import flags

    _define_config("config", "Configuration file, with an optional preset: configs/pastis.py:hd.", "configs/base.py")
    flags.DEFINE_string("workdir", "", "Folder of the run; by default runs/<name of the configuration>.")
    flags.DEFINE_enum(
        "stage", "all", ["prepare", "pretrain", "finetune", "evaluate", "all"], "Run up to and including this stage."
    )
    flags.DEFINE_list(
        "folds", [], "Run several folds, e.g. 1,2,3,4,5, each in <workdir>/fold_<number>, and compute scores from the sum of their counts."
    )
    flags.DEFINE_string("coordinator", "", "HOST:PORT of process 0; not needed under SLURM, Open MPI or on a TPU pod.")
    flags.DEFINE_integer("num_processes", -1, "Number of processes of the run; needs --coordinator.")
    flags.DEFINE_integer("process_id", -1, "Number of this process, counted from 0; needs --coordinator.")
    flags.DEFINE_integer("host_timeout", 300, "Seconds without a heartbeat after which a host counts as dead.")
    flags.DEFINE_string(
        "compile_for", "", "Compile the steps for TPU chips or GPUs that need not be present, e.g. v5e:16x16, 2_of_v5e:16x16, h100:8 or v5e:4x4,v5e:16x16, report memory, time per step and scaling, and exit."
    )
    flags.DEFINE_string("profile", "", "START:STOP. Profile steps START to STOP of each stage into <workdir>/profile.")
    flags.DEFINE_bool("accept_new_data", False, "Continue a run although its data have changed since it was started.")
    _define_config("study", "Study file to run instead of a single configuration: configs/studies/pastis_table.py.", "configs/studies/base.py")
    flags.DEFINE_string("study_shard", "0/1", "I/N, with I from 0 to N - 1: the share of the runs of a study that this machine does.")
    flags.DEFINE_integer("study_processes", 1, "Number of runs of a study at a time.")
    flags.DEFINE_string(
        "compilation_cache", None, "Folder that keeps compiled programs between runs, by default <data.cache_dir>/programs; empty = none."
    )


def _define_config(name: str, help_text: str, listed: str) -> None:
    """Defines an option that names a configuration file.

    ml_collections changes its values. The file is read by the loader of this project, which refuses mistakes that ml_collections lets pass.

    Args:
      name: of the option.
      help_text: shown by --help.
      listed: the file that lists all keys, for messages.
    """
    from absl import flags
    from ml_collections import config_flags

    from omnisat_jax.config import files as config_files, presets

    class File(flags.ArgumentParser):
        def parse(self, argument):
            config = config_files.load(argument, f"--{name}")
            config_files.check_kind(config, name, argument)
            given = [text.lstrip("-").partition("=")[0] for text in sys.argv if text.startswith("-")]
            changed = [text.removeprefix("no") if text.startswith(f"no{name}.") else text for text in given]
            keys = [text.removeprefix(f"{name}.") for text in changed if text.startswith(f"{name}.")]
            config_files.check_keys(config, keys, listed)
            self.loaded = argument.partition(":")[2], presets.budget_of(config)  # before the command line changes it
            config.lock()
            return config

    config_flags.DEFINE_config_file(name, None, help_text)
    flags.FLAGS[name].parser = File()


def parse(argv: list[str]) -> list[str]:
    """Parses the command line with absl, and reports every mistake in it as a UserError.

    Raises:
      UserError: an option that does not exist or cannot have its value, or a file that it names.
    """
    import difflib

    from absl import flags

    from omnisat_jax.config import presets
    from omnisat_jax.errors import UserError, reason

    try:
        rest = flags.FLAGS(argv)
    except UserError:
        raise
    except Exception as error:  # of absl or ml_collections
        if isinstance(error.__context__, UserError):
            raise error.__context__ from None
        if isinstance(error, flags.UnrecognizedFlagError):
            close = difflib.get_close_matches(error.flagname, list(flags.FLAGS), n=1)
            raise UserError(f"--{error.flagname}: no such option.{f' Did you mean --{close[0]}?' if close else ''} --help lists the options") from error
        raise UserError(_in_words(str(error)) if isinstance(error, flags.Error) else f"the command line: {reason(error)}") from error
    if flags.FLAGS.config is None and flags.FLAGS.study is None:
        raise UserError(
            "Flag --config must have a value other than None: name a configuration, such as configs/pastis.py, or a --study"
        )
    if flags.FLAGS.config is not None:
        preset, before = vars(flags.FLAGS["config"].parser)["loaded"]
        try:
            presets.need_kept(preset, before, flags.FLAGS.config)
        except UserError as error:
            raise UserError(f"--config: {error}") from None
    if len(rest) > 1:
        raise UserError(f"unexpected argument {rest[1]!r}; options begin with --")
    return rest


def _in_words(message: str) -> str:
    """A message of absl about the value of an option, as expected and found."""
    match = re.match(r"flag (--[\w.]+)=(.*): (?:invalid literal for int|could not convert string to float|value should be one of <(.*)>|Failed to parse|\('Non-boolean)", message, re.DOTALL)
    if not match:
        return message
    number = "a whole number" if "literal for int" in message else "a number"
    number = "true or false" if "Non-boolean" in message else number
    expected = f"one of {match[3].replace('|', ', ')}" if match[3] else "one of its keys, such as this option with .KEY" if "ConfigDict" in message else number
    return f"{match[1]}: expected {expected}, found {match[2]!r}"


def main(argv: list[str]) -> int:
    """Runs what the flags ask for: an experiment, a study, or a compilation."""
    from absl import flags

    values = flags.FLAGS
    _check_options(values)
    from omnisat_jax.train.workdir import check_path

    if values.workdir:
        check_path(values.workdir)  # an address is recognized only as long as it is text
    if values.study is not None:
        return _run_study(values)
    if not values.compile_for:
        _announce(values)
    import logging
    import os

    from omnisat_jax.config import schema

    for noisy, level in (("jax", logging.ERROR), ("absl", logging.CRITICAL), ("asyncio", logging.CRITICAL)):
        # Before anything asks for devices, about which JAX logs. Orbax logs through absl what it raises as well.
        logging.getLogger(noisy).setLevel(logging.DEBUG if os.environ.get(signals.DEBUG) else level)
    if values.compile_for:
        config = schema.parse(values.config)
        return _compile_for(config, values.compile_for, values.workdir or os.path.join("runs", config.name))
    return _run(values)


OF_RUNS = ("config", "stage", "folds", "coordinator", "num_processes", "process_id", "compile_for", "profile", "accept_new_data", "compilation_cache")
OF_STUDIES = ("study_shard", "study_processes")


def _check_options(values):
    """Refuses options without effect: those of single runs beside --study, and those of studies without it."""
    from omnisat_jax.errors import UserError

    study = values.study is not None
    idle = [f"--{name}" for name in (OF_RUNS if study else OF_STUDIES) if values[name].present]
    if idle:
        advice = "what a study runs is set by --study.<key>, see configs/studies/base.py" if study else "they need --study"
        raise UserError(f"{', '.join(idle)}: no effect {'with' if study else 'without'} --study; {advice}")


def _announce(values):
    """Prints the plan of a run, unless its folder holds another one, and imports meanwhile what takes seconds."""
    from omnisat_jax.cli import terminal
    from omnisat_jax.config import schema
    from omnisat_jax.experiment import plan
    from omnisat_jax.train.workdir import need_own

    console = terminal.console(quiet=not _looks_first(values))
    config = schema.parse(values.config)
    need_own(_folder(values, config), schema.flatten(config), [int(text) for text in values.folds if text.isascii() and text.isdecimal()])
    plan.show(console, config, _folder(values, config), values.stage, values.folds)
    with console.status("loading JAX", spinner="dots"):
        import data.prepare  # noqa: F401
        import omnisat_jax.experiment.run  # noqa: F401


def _folder(values, config):
    import os

    return values.workdir or os.path.join("runs", config.name)


def _run(values):
    import os

    from data.prepare import prepare
    from omnisat_jax.cli import terminal
    from omnisat_jax.config import schema
    from omnisat_jax.experiment.context import RunOptions
    from omnisat_jax.experiment.cross_validation import fold_numbers, run_folds
    from omnisat_jax.experiment.run import run
    from omnisat_jax.parallel import hosts
    from omnisat_jax.parallel.compilation import keep_programs
    from omnisat_jax.train.loop import Preempted
    from omnisat_jax.train.timing import parse_profile

    config = schema.parse(values.config)
    remark = keep_programs(values.compilation_cache, default=os.path.join(config.data.cache_dir, "programs"))
    hosts.start(
        coordinator=values.coordinator,
        num_processes=values.num_processes,
        process_id=values.process_id,
        timeout=values.host_timeout,
    )
    console = terminal.console(quiet=not hosts.is_leader())
    terminal.set_up_logging(console)
    if remark:
        console.print(remark, soft_wrap=True)
    options = RunOptions(
        folder=_folder(values, config),
        console=console,
        prepare=prepare,
        stage=values.stage,
        accept_new_data=values.accept_new_data,
        profile=parse_profile(values.profile),
    )
    try:
        with hosts.failures_named():
            if values.folds:
                run_folds(config, fold_numbers(values.folds), options)
            elif run(config, options):
                _show_next(console, config, options.folder)
    except Preempted as error:
        raise signals.Terminated(str(error)) from error
    return 0


def _looks_first(values):
    """Whether this is the first or only process of a run, as far as can be told before JAX is imported."""
    import os

    numbers = [os.environ.get(name, "0") for name in ("SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "TPU_WORKER_ID")]
    return values.process_id <= 0 and not any(number.isdigit() and int(number) for number in numbers)


def _show_next(console, config, folder):
    """Prints commands to try after a run on simulated data; they work as printed."""
    from data.pastis.next_commands import next_commands

    commands = next_commands(config, folder, __file__)
    if commands:
        console.print("next:")
        for why, command in commands:
            console.print(f"  # {why}\n  {command}", soft_wrap=True)


def _run_study(values):
    """Runs and summarizes a study; returns 1 if a run of it failed. Asks for no device: they belong to the runs."""
    import os

    from omnisat_jax.cli import terminal
    from omnisat_jax.files.addresses import scheme_of
    from omnisat_jax.report import html
    from omnisat_jax.shards import Shard
    from omnisat_jax.study import grid, runner, summary, tables
    from omnisat_jax.train.workdir import opened

    console, shard = terminal.console(), Shard.parse(values.study_shard, "--study_shard")
    study = grid.parse(values.study)
    place = values.workdir or os.path.join("runs", "studies", study.name)
    place = place if scheme_of(place) else os.path.abspath(place)
    launcher = runner.Launcher.of_program(__file__)
    with opened(place, left_out=("model",)) as folder:
        outcomes = runner.run_study(study, folder, launcher, console=console, processes=values.study_processes, shard=shard)
        found = summary.summarise(study, folder, outcomes, launcher.root)
        html.write(folder)
    console.print(tables.markdown(found), soft_wrap=True)
    console.print(f"written to {place}: table.md, table.csv, table.tex, study.json, report.html")
    return 1 if found.failed else 0


def _compile_for(config, topologies, folder):
    """Returns 0 if the steps fit. Asks for no device: the process that compiles has them."""
    from omnisat_jax.aot.command import compile_for, fits
    from omnisat_jax.aot.scaling import show_scaling
    from omnisat_jax.aot.topology import parse_topology
    from omnisat_jax.cli import terminal

    names = topologies.split(",")
    for name in names:  # all of them before the first is compiled, which takes minutes
        parse_topology(name).need_compiler()
    reports = [compile_for(config, name, folder=folder, console=terminal.console()) for name in names]
    if len(reports) > 1:
        show_scaling(terminal.console(), reports)
    return 0 if all(map(fits, reports)) else 1


if __name__ == "__main__":
    signals.listen()
    sys.exit(run_command(program, sys.argv))
