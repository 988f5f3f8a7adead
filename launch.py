"""python launch.py --config=configs/pastis.py: prepares data, pre-trains, fine-tunes and evaluates OmniSat.

Any configuration key can be changed by its path: --config.finetune.steps=500. See configs/base.py for all of them.
A repeated command continues where the last one stopped.
"""

import sys

from omnisat_jax.cli import signals
from omnisat_jax.cli.command import run_command

# What is imported where it is used takes seconds, in which Ctrl-C is to be one sentence as well.


def program(argv) -> int:
    """The whole command, from its arguments to its exit code."""
    from absl import app

    define_flags()
    app.run(main, argv=argv, flags_parser=parse)  # raises SystemExit with what main returns
    return 0


def define_flags() -> None:
    """Every option of the command."""
    from absl import flags

    _define_config("config", "Configuration file, with an optional preset: configs/pastis.py:hd.", "configs/base.py")
    flags.DEFINE_string("workdir", "", "Folder of the run; default runs/<name of the configuration>.")
    flags.DEFINE_enum(
        "stage", "all", ["prepare", "pretrain", "finetune", "evaluate", "all"], "Run up to and including this stage."
    )
    flags.DEFINE_list(
        "folds", [], "Several folds as one run, e.g. 1,2,3,4,5: each in <workdir>/fold_<number>, scores from the sum of their counts."
    )
    flags.DEFINE_string("coordinator", "", "HOST:PORT of process 0, where neither SLURM nor a TPU pod tells.")
    flags.DEFINE_integer("num_processes", -1, "Processes of the run, with --coordinator.")
    flags.DEFINE_integer("process_id", -1, "Which of them this is, 0-based, with --coordinator.")
    flags.DEFINE_integer("host_timeout", 300, "Seconds without a sign of life after which a host counts as dead.")
    flags.DEFINE_string(
        "compile_for", "", "Only compile the steps for TPU chips that need not be there, e.g. v5e:16x16, and say what they need."
    )
    flags.DEFINE_string("profile", "", "START:STOP steps of each stage to trace into <workdir>/profile.")
    flags.DEFINE_bool("accept_new_data", False, "Go on although the data changed since the run was started.")
    _define_config("study", "Study file, instead of --config: configs/studies/pastis_table.py.", "configs/studies/base.py")
    flags.DEFINE_string("study_shard", "0/1", "INDEX/COUNT: which part of a study's runs this machine does.")
    flags.DEFINE_integer("study_processes", 1, "Runs of a study at a time.")
    flags.DEFINE_string("compilation_cache", "", "Folder in which compiled programs are kept between runs; empty = none.")


def _define_config(name, about, listed):
    """An option that names a configuration file; ml_collections changes its values, and our own loader reads it, so that mistakes stay errors."""
    from absl import flags
    from ml_collections import config_flags

    from omnisat_jax.config import files as config_files

    class File(flags.ArgumentParser):
        def parse(self, argument):
            config = config_files.load(argument, f"--{name}")
            config_files.check_kind(config, name, argument)
            given = [text.lstrip("-").partition("=")[0] for text in sys.argv if text.startswith("-")]
            changed = [text.removeprefix("no") if text.startswith(f"no{name}.") else text for text in given]
            keys = [text.removeprefix(f"{name}.") for text in changed if text.startswith(f"{name}.")]
            config_files.check_keys(config, keys, listed)
            config.lock()
            return config

    config_flags.DEFINE_config_file(name, None, about)
    flags.FLAGS[name].parser = File()


def parse(argv):
    """absl's parser, whose every complaint is one of the user's command line.

    Raises:
      UserError: an option that does not exist or cannot have its value, or a file that it names.
    """
    from absl import flags

    from omnisat_jax.errors import UserError, reason

    try:
        rest = flags.FLAGS(argv)
    except UserError:
        raise
    except Exception as error:  # of absl or ml_collections
        if isinstance(error.__context__, UserError):
            raise error.__context__ from None
        if isinstance(error, flags.UnrecognizedFlagError):
            raise UserError(f"{error}. --help lists the options") from error
        raise UserError(str(error) if isinstance(error, flags.Error) else f"the command line: {reason(error)}") from error
    if flags.FLAGS.config is None and flags.FLAGS.study is None:
        raise UserError(
            "Flag --config must have a value other than None: name a configuration, such as configs/pastis.py, or a --study"
        )
    if len(rest) > 1:
        raise UserError(f"unexpected argument {rest[1]!r}; options begin with --")
    return rest


def main(argv) -> int:
    """Turns flags into an experiment, a study, or a compilation."""
    from absl import flags

    values = flags.FLAGS
    _check_options(values)
    from omnisat_jax.train.workdir import check_place

    if values.workdir:
        check_place(values.workdir)  # before anything makes a path of it, in which an address is none any more
    if values.study is not None:
        return _run_study(values)
    import logging
    import os

    import jax

    from omnisat_jax.config import schema

    if values.compilation_cache:
        jax.config.update("jax_compilation_cache_dir", os.path.abspath(values.compilation_cache))
    for noisy, level in (("jax", logging.ERROR), ("absl", logging.CRITICAL), ("asyncio", logging.CRITICAL)):
        # Before anything asks for devices, which jax reports on. Orbax, which speaks through absl, also raises what it reports.
        logging.getLogger(noisy).setLevel(logging.DEBUG if os.environ.get(signals.DEBUG) else level)
    if values.compile_for:
        config = schema.parse(values.config)
        return _compile_ahead(config, values.compile_for, values.workdir or os.path.join("runs", config.name))
    return _run(values)


OF_RUNS = ("config", "stage", "folds", "coordinator", "num_processes", "process_id", "compile_for", "profile", "accept_new_data", "compilation_cache")
OF_STUDIES = ("study_shard", "study_processes")


def _check_options(values):
    """Refuses what would have no effect: options of single runs beside --study, and those of studies without it."""
    from omnisat_jax.errors import UserError

    study = values.study is not None
    idle = [f"--{name}" for name in (OF_RUNS if study else OF_STUDIES) if values[name].present]
    if idle:
        advice = "what a study runs is set by --study.<key>, see configs/studies/base.py" if study else "they need --study"
        raise UserError(f"{', '.join(idle)}: no effect {'with' if study else 'without'} --study; {advice}")


def _run(values):
    import os

    import jax

    from omnisat_jax.cli import terminal
    from omnisat_jax.config import schema
    from omnisat_jax.experiment import run as experiment
    from omnisat_jax.experiment.cross_validation import fold_numbers, run_folds
    from omnisat_jax.parallel import hosts
    from omnisat_jax.train.loop import Preempted
    from omnisat_jax.train.timing import parse_profile

    hosts.start(
        coordinator=values.coordinator,
        num_processes=values.num_processes,
        process_id=values.process_id,
        timeout=values.host_timeout,
    )
    console = terminal.console(quiet=not hosts.is_leader())
    terminal.set_up_logging(console)
    config = schema.parse(values.config)
    how = {
        "folder": values.workdir or os.path.join("runs", config.name),
        "stage": values.stage,
        "console": console,
        "accept_new_data": values.accept_new_data,
        "profile": parse_profile(values.profile),
    }
    try:
        if values.folds:
            run_folds(config, fold_numbers(values.folds), **how)
        else:
            experiment.run(config, **how)
    except Preempted as error:
        raise signals.Terminated(str(error)) from error
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or "RESOURCE_EXHAUSTED" in str(error):
            raise
        raise hosts.HostError(f"the run cannot go on, probably because another host died: {error}") from error
    return 0


def _run_study(values):
    """Runs and summarises a study; 1 if a run of it failed. No device is asked for: they belong to the runs."""
    import os

    from omnisat_jax.cli import terminal
    from omnisat_jax.report import html
    from omnisat_jax.study import grid, runner, summary, tables

    console = terminal.console()
    study = grid.parse(values.study)
    folder = os.path.abspath(values.workdir or os.path.join("runs", "studies", study.name))
    launcher = runner.Launcher.of_program(__file__)
    outcomes = runner.run_study(study, folder, launcher, console=console, processes=values.study_processes, shard=values.study_shard)
    found = summary.summarise(study, folder, outcomes, launcher.root)
    html.write(folder)
    console.print(tables.markdown(found), soft_wrap=True)
    console.print(f"written to {folder}: table.md, table.csv, table.tex, study.json, report.html")
    return 1 if found.failed else 0


def _compile_ahead(config, topology, folder):
    """0 if the steps fit; nothing here asks for devices, which belong to the process that compiles."""
    from omnisat_jax.aot.command import compile_for, fits
    from omnisat_jax.cli import terminal

    return 0 if fits(compile_for(config, topology, folder=folder, console=terminal.console())) else 1


if __name__ == "__main__":
    signals.listen()
    sys.exit(run_command(program, sys.argv))
