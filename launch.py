"""python launch.py --config=configs/pastis.py: prepares data, pre-trains, fine-tunes and evaluates OmniSat.

Any configuration key can be changed by its path: --config.finetune.steps=500. See configs/base.py for all of them.
A repeated command continues where the last one stopped.
"""

import logging
import os
import re
import sys

from absl import app, flags
from ml_collections import config_flags

from omnisat_jax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration file, with an optional preset: configs/pastis.py:hd.")
_WORKDIR = flags.DEFINE_string("workdir", "", "Folder of the run; default runs/<name of the configuration>.")
_STAGE = flags.DEFINE_enum(
    "stage", "all", ["prepare", "pretrain", "finetune", "evaluate", "all"], "Run up to and including this stage."
)
_FOLDS = flags.DEFINE_list(
    "folds", [], "Several folds as one run, e.g. 1,2,3,4,5: each in <workdir>/fold_<number>, scores from the sum of their counts."
)
_COORDINATOR = flags.DEFINE_string("coordinator", "", "HOST:PORT of process 0, where neither SLURM nor a TPU pod tells.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", -1, "Processes of the run, with --coordinator.")
_PROCESS_ID = flags.DEFINE_integer("process_id", -1, "Which of them this is, 0-based, with --coordinator.")
_HOST_TIMEOUT = flags.DEFINE_integer("host_timeout", 300, "Seconds without a sign of life after which a host counts as dead.")
_COMPILE_FOR = flags.DEFINE_string(
    "compile_for", "", "Only compile the steps for TPU chips that need not be there, e.g. v5e:16x16, and say what they need."
)
_PROFILE = flags.DEFINE_string("profile", "", "START:STOP steps of each stage to trace into <workdir>/profile.")
_ACCEPT = flags.DEFINE_bool("accept_new_data", False, "Go on although the data changed since the run was started.")
_STUDY = config_flags.DEFINE_config_file("study", None, "Study file, instead of --config: configs/studies/pastis_table.py.")
_STUDY_SHARD = flags.DEFINE_string("study_shard", "0/1", "INDEX/COUNT: which part of a study's runs this machine does.")
_STUDY_PROCESSES = flags.DEFINE_integer("study_processes", 1, "Runs of a study at a time.")
_CACHE = flags.DEFINE_string("compilation_cache", "", "Folder in which compiled programs are kept between runs; empty = none.")
PREEMPTED = 75  # exit code of a run that was told to end and saved: start it again


def main(argv):
    """Turns flags into an experiment; errors a user can cause end the program with their message alone."""
    if len(argv) > 1:
        return _fail(f"unexpected argument {argv[1]!r}; options begin with --")
    import jax
    from rich.console import Console

    from omnisat_jax import experiment, schema
    from omnisat_jax.cross_validation import run_folds
    from omnisat_jax.parallel import hosts
    from omnisat_jax.train.checkpoint import SaveError
    from omnisat_jax.train.loop import NonFiniteError, Preempted
    from omnisat_jax.train.timing import parse_profile
    from omnisat_jax.train.workdir import WorkdirError

    if _STUDY.value is not None:
        return _run_study()
    if _CACHE.value:
        jax.config.update("jax_compilation_cache_dir", os.path.abspath(_CACHE.value))
    for noisy in ("absl", "jax", "orbax"):  # before anything asks for devices, which jax reports on
        logging.getLogger(noisy).setLevel(logging.ERROR)
    several = False
    try:
        if _COMPILE_FOR.value:
            return _compile_ahead(Console(file=sys.stdout))
        hosts.start(
            coordinator=_COORDINATOR.value,
            num_processes=_NUM_PROCESSES.value,
            process_id=_PROCESS_ID.value,
            timeout=_HOST_TIMEOUT.value,
        )
        several = jax.process_count() > 1
        console = Console(file=sys.stdout, quiet=not hosts.is_leader())
        _set_up_logging(console)
        config = schema.parse(_CONFIG.value)
        folder = _WORKDIR.value or os.path.join("runs", config.name)
        how = {"folder": folder, "stage": _STAGE.value, "console": console, "accept_new_data": _ACCEPT.value}
        how["profile"] = parse_profile(_PROFILE.value)
        if _FOLDS.value:
            run_folds(config, _fold_numbers(_FOLDS.value), **how)
        else:
            experiment.run(config, **how)
    except Preempted as error:
        print(f"stopped: {error}", flush=True)
        return PREEMPTED
    except (ValueError, FileNotFoundError, WorkdirError, NonFiniteError, SaveError, hosts.HostError) as error:
        if logging.getLogger("omnisat_jax").isEnabledFor(logging.DEBUG):
            raise
        return _leave(_fail(str(error)), several)
    except jax.errors.JaxRuntimeError as error:
        if not several:
            raise
        return _leave(_fail(f"the run cannot go on, probably because another host died: {error}"), several)
    return 0


def _run_study():
    """Runs and summarises a study; 1 if a run of it failed. No device is asked for: they belong to the runs."""
    from rich.console import Console

    from omnisat_jax.checks import ConfigError
    from omnisat_jax.report import html
    from omnisat_jax.study import grid, runner, summary
    from omnisat_jax.train.workdir import WorkdirError

    console = Console(file=sys.stdout)
    try:
        study = grid.parse(_STUDY.value)
        folder = os.path.abspath(_WORKDIR.value or os.path.join("runs", "studies", study.name))
        outcomes = runner.run_study(study, folder, processes=_STUDY_PROCESSES.value, shard=_STUDY_SHARD.value, console=console)
        about = summary.summarise(study, folder, outcomes)
        html.write(folder)
    except (ConfigError, ValueError, WorkdirError, OSError) as error:
        return _fail(str(error))
    console.print(summary.markdown(about), markup=False, highlight=False, soft_wrap=True)
    console.print(f"written to {folder}: table.md, table.csv, table.tex, study.json, report.html")
    return 1 if about["failed"] else 0


def _compile_ahead(console):
    """0 if the steps fit; nothing here asks for devices, which belong to the process that compiles."""
    from omnisat_jax import schema
    from omnisat_jax.ahead.command import compile_for, fits

    config = schema.parse(_CONFIG.value)
    folder = _WORKDIR.value or os.path.join("runs", config.name)
    return 0 if fits(compile_for(config, _COMPILE_FOR.value, folder=folder, console=console)) else 1


def _leave(code, several):
    """Ends one of several processes at once: an orderly exit would wait for the others, which may be dead."""
    if several:
        from omnisat_jax.parallel import hosts

        hosts.leave()
        sys.stdout.flush()
        os._exit(code)
    return code


def _fold_numbers(texts):
    wrong = [text for text in texts if not text.isdigit()]
    if wrong:
        raise UserError(f"--folds: expected numbers separated by commas, found {wrong[0]!r}")
    return [int(text) for text in texts]


def _set_up_logging(console):
    """Progress on a terminal; a line of log where there is none."""
    level = (
        logging.DEBUG
        if os.environ.get("OMNISAT_DEBUG")
        else logging.WARNING
        if console.is_terminal or console.quiet
        else logging.INFO
    )
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stdout, force=True)
    logging.getLogger("omnisat_jax").setLevel(level)


def _fail(message):
    print(f"error: {message}", file=sys.stderr)
    return 1


def _parse(argv):
    """absl's parser; what is wrong with the options ends the program as one sentence."""
    try:
        rest = flags.FLAGS(argv)
        if _CONFIG.value is None and _STUDY.value is None:
            sys.exit(
                _fail(
                    "Flag --config must have a value other than None: name a configuration, such as configs/pastis.py, or a --study"
                )
            )
        (_STUDY if _CONFIG.value is None else _CONFIG).value.items()  # what could not be read says so only when it is used
        return rest
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError, SyntaxError) as error:
        flag = "study" if any(argument.startswith("--study=") for argument in argv) else "config"
        sys.exit(_fail(_sentence(error, flag)))


def _sentence(error, flag):
    """Of a mistake in what --config or --study names, the message inside what ml_collections raises: a hint inside quotes, or the text of a whole traceback."""
    keys = "configs/studies/base.py" if flag == "study" else "configs/base.py"
    text = str(error.args[0] if isinstance(error, KeyError | AttributeError) else error)
    hint = re.search(r'Did you mean "(?P<right>\w+)" instead of "(?P<wrong>\w+)"', text)
    if hint:
        return f"the configuration has no key {hint['wrong']!r}; did you mean {hint['right']!r}? {keys} lists all"
    if isinstance(error, KeyError | AttributeError):
        key = text.strip("\"'")
        return f"the configuration has no key {key!r}; {keys} lists all"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    missing = [line for line in lines if line.startswith("[Errno")]
    if missing and "config file" in text:
        return f"--{flag}: {missing[0].split('] ', 1)[1]}"
    # A configuration file that fails arrives as the text of a traceback: its last error line is the message.
    errors = [line.split(": ", 1)[1] for line in lines if line.split(": ", 1)[0].endswith("Error") and ": " in line]
    return errors[-1] if errors else " ".join(lines)


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
