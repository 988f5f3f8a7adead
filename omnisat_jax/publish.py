"""Checks a model folder before it is published, and fills in what is missing: in a new folder, never in place.

    python -m omnisat_jax.publish FOLDER [--repo ORG/NAME] [--tag v1.0] [--license ID] [--citation TEXT] [--out NEW_FOLDER] [--check]

Scores that a prediction of one class everywhere reaches and kernels that are constant are warned of. Nothing is uploaded: the commands that do it are printed.
"""

import argparse
import dataclasses
import pathlib
import re
import shlex
import sys
from collections.abc import Sequence

from omnisat_jax.cli.arguments import Parser, words
from omnisat_jax.cli.command import FAILED, run_command
from omnisat_jax.config import schema
from omnisat_jax.errors import UserError, printable
from omnisat_jax.files import atomic
from omnisat_jax.files.addresses import scheme_of
from omnisat_jax.files.json_file import read_json
from omnisat_jax.files.text_file import read_text
from omnisat_jax.inference.hub import PREFIX, HubError, check_address
from omnisat_jax.inference.model_folder import CARD, FORMAT, load_model
from omnisat_jax.inference.model_info import Legend, ModelInfo, Provenance, SubsetScores, TrainedModel
from omnisat_jax.inference.model_saving import save_model
from omnisat_jax.report import model_card, tables, trivial
from omnisat_jax.report.run_files import REPORT_PROTOCOL, Results, read_results
from omnisat_jax.train import workdir
from omnisat_jax.types import Params, StrPath
from omnisat_jax.words import number_of

LARGEST_CARD = 2**22  # bytes
LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]{0,60}")  # as the hub spells them, such as "apache-2.0"
_FRONT = re.compile(r"---\n(.*?\n)---\n", re.DOTALL)
_LICENCE_LINE = re.compile(r"^license:[ \t]*(\S+)[ \t]*$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Fact:
    """One thing that a published model should have.

    Attributes:
      name: of the thing.
      present: whether it is there.
      text: what was found, or what to do.
      doubtful: whether what is there should be looked at before it is published.
    """

    name: str
    present: bool
    text: str
    doubtful: bool = False

    @property
    def word(self) -> str:
        """How it stands with it: "ok", "missing" or "warning"."""
        return "missing" if not self.present else "warning" if self.doubtful else "ok"


def review(model: TrainedModel, card: str | None, results: Results | None = None) -> list[Fact]:
    """What a published model should have, and whether this one has it.

    Args:
      model: from its folder; its files and checksums were checked when it was loaded.
      card: the text of its card, or None.
      results: of the run that made it, or None.
    """
    info, data, licence = model.info, model.info.provenance, licence_of(card)
    unnamed = [name for name in info.modalities if not info.sensors[name].bands]
    simulated = {None: "not known", True: model_card.WARNING, False: "no"}[data.simulated]
    return [
        Fact("files", model.format > 1, f"complete, checksum {model.checksum}" if model.format > 1 else "have no checksums (format 1)"),
        Fact("format", model.format == FORMAT, str(model.format) if model.format == FORMAT else f"{model.format}, an earlier one than {FORMAT}"),
        Fact("card", bool(card and _FRONT.match(card)), CARD if card and _FRONT.match(card) else f"no {CARD} with a front matter"),
        Fact("licence", licence not in ("", model_card.UNKNOWN), licence or "none; give it as --license"),
        Fact("citation", bool(data.citation), data.citation or "none; give it as --citation"),
        _scores(info, results),
        _weights(model.params),
        Fact("bands", not unnamed, f"no names for {', '.join(unnamed)}; evaluate the run again" if unnamed else "named"),
        Fact("simulated", data.simulated is not None, simulated),
    ]


def _scores(info: ModelInfo, results: Results | None) -> Fact:
    """Whether there are scores, and whether they are above those of a prediction that looks at nothing."""
    if not info.provenance.scores:
        return Fact("scores", False, "none; evaluate the run again")
    if results and len(results["subsets"]) == len(info.provenance.scores):
        info = _scored(info, results)
    found = trivial.doubts(info)
    if results and (only := trivial.always_predicted(results)):
        found.insert(0, f"it always predicts {only}")
    if found:
        more = f" (and so for {len(found) - 2} more subsets of modalities)" if found[2:] else ""
        return Fact("scores", True, f"the model seems to have learned nothing: {'; '.join(found[:2])}{more}", doubtful=True)
    return Fact("scores", True, f"of {number_of(len(info.provenance.scores), 'subset')} of modalities")


def _scored(info: ModelInfo, results: Results) -> ModelInfo:
    """What a folder says, with the scores of its run."""
    scores = [SubsetScores(tuple(entry["modalities"]), entry.get("tiles", 0), trivial.kept_scores(entry, results)) for entry in results["subsets"]]
    data = dataclasses.replace(info.provenance, metrics=tables.released(results["task"]), scores=tuple(scores))
    return dataclasses.replace(info, provenance=data)


def _weights(params: Params) -> Fact:
    """Whether the weights look trained; that they are finite was checked when they were read."""
    if constant := trivial.constant_kernels(params):
        more = ", ..." if constant[3:] else ""
        text = f"all values are equal in {number_of(len(constant), 'kernel')}: {', '.join(constant[:3])}{more}; they were not trained, or training broke them"
        return Fact("weights", True, text, doubtful=True)
    return Fact("weights", True, "finite, no kernel is constant")


def licence_of(card: str | None) -> str:
    """The license in the front matter of a card; "" if there is none."""
    front = _FRONT.match(card or "")
    line = _LICENCE_LINE.search(front[1]) if front else None
    return line[1].strip("\"'") if line else ""


def completed(folder: pathlib.Path, info: ModelInfo, citation: str) -> ModelInfo:
    """What a folder says, with what the results of its run add where an earlier version saved it, and without the folders of this machine.

    Args:
      folder: of the model.
      info: what it says.
      citation: of the data; "" keeps what is known.

    Raises:
      DataError: the results of the run are damaged.
    """
    if not info.provenance.dataset and folder.resolve().name == "model":
        info = _with_results(folder.resolve().parent, info)
    info = dataclasses.replace(info, config=_without_folders(info.config))
    return dataclasses.replace(info, provenance=dataclasses.replace(info.provenance, citation=citation)) if citation else info


def _without_folders(config: schema.ExperimentConfig) -> schema.ExperimentConfig:
    """The configuration with the last part of absolute paths and of addresses, as the rest is nobody else's concern."""

    def last(path: str) -> str:
        return pathlib.PurePath(path).name if scheme_of(path) or pathlib.PurePath(path).is_absolute() else path

    data = {key: last(getattr(config.data, key)) for key in ("raw_dir", "prepared_dir", "cache_dir", "mirror_dir")}
    data["pretrain_dirs"] = ",".join(map(last, config.data.pretrain_folders))
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **data), pretrain_from=last(config.pretrain_from))


def _with_results(run: pathlib.Path, info: ModelInfo) -> ModelInfo:
    """Adds data, scores and colors from a run, if its evaluation wrote this model."""
    results = _results(run)
    if results is None:
        return info
    facts = results["protocol"]
    record = read_json(run / "run.json", what="the record of a run").get("data") if (run / "run.json").is_file() else None
    provenance = Provenance(
        dataset=facts["dataset"],
        fingerprint=facts["fingerprint"],
        citation=record.get("citation").text() if record and record.find("citation", "").value else "",
        simulated=facts["simulated"],
        protocol=facts["protocol"],
        train=tuple(facts["train"]),
        validation=tuple(facts["validation"]),
        test=tuple(facts["test"]),
    )
    colours = tuple(facts["colours"]) if len(facts["colours"]) == len(info.classes) else ()
    legend = Legend(colours, tuple(name for name in facts["unscored"] if name in info.classes), -1)
    return _scored(dataclasses.replace(info, provenance=provenance, legend=legend), results)


def _results(run: pathlib.Path) -> Results | None:
    """The results of a run; None where there are none, or where they are not those of its model."""
    return read_results(run, REPORT_PROTOCOL) if workdir.evaluated(run)[0] is not None else None


def new_card(info: ModelInfo, former: ModelInfo, card: str | None, *, licence: str, repository: str) -> str:
    """The card to publish: written anew, unless somebody has edited it; then only its license is set.

    Args:
      info: what the published folder will say.
      former: what the folder says now.
      card: the card that is there, or None.
      licence: of the weights; "" keeps the one of the card.
      repository: "ORG/NAME" or "".
    """
    known = licence_of(card) or model_card.UNKNOWN
    front = _FRONT.match(card or "")
    if card is None or front is None or card == model_card.text(former, licence=known):
        return model_card.text(info, licence=licence or known, repository=repository)
    if not licence:
        return card
    line = f"license: {licence}"
    head = _LICENCE_LINE.sub(line, front[1], count=1) if _LICENCE_LINE.search(front[1]) else f"{line}\n{front[1]}"
    return f"---\n{head}---\n{card[front.end() :]}"


def publish(folder: StrPath, out: StrPath, info: ModelInfo, params: Params, card: str) -> None:
    """Writes a model and its card into a new folder.

    Args:
      folder: of the model now, which is left as it is.
      out: the new folder.
      info: what the new folder says.
      params: nested names -> host arrays.
      card: the text of its card.

    Raises:
      UserError: the folder exists already, or cannot be written.
    """
    if pathlib.Path(out).exists():
        raise UserError(f"{out}: expected a new folder, found one that is there already; choose another --out")
    if pathlib.Path(out).resolve().is_relative_to(pathlib.Path(folder).resolve()):
        raise UserError(f"{out}: expected a folder outside {folder}, which is left as it is; choose another --out")
    with atomic.new_folder(out) as work:
        save_model(work, params, info)
        atomic.write_text(work / CARD, card)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; `arguments` default to those of the process."""
    options = _options(arguments)
    folder = pathlib.Path(options.folder)
    model, card = load_model(folder), _read_card(folder)
    results = _results(folder.resolve().parent) if folder.resolve().name == "model" else None
    if not options.check:
        info = completed(folder, model.info, options.citation)
        text = new_card(info, model.info, card, licence=options.license, repository=options.repo)
        if options.out or model.format < FORMAT or info != model.info or text != card:
            out = pathlib.Path(options.out or f"{options.folder.rstrip('/')}-published")
            publish(folder, out, info, model.params, text)
            print(printable(f"{folder} is left as it is; written to {out}", None))
            folder, model, card = out, load_model(out), text
    facts = review(model, card, results)
    for fact in facts:
        print(f"{fact.word:7} {fact.name}: {' '.join(printable(fact.text, None).split())}")
    if not options.check:
        repository = options.repo or "ORG/NAME"
        print("\nTo upload it:")
        print(f"  hf upload {repository} {shlex.quote(str(folder))} . --commit-message {shlex.quote(options.tag)}")
        print(f"  hf repos tag create {repository} {options.tag}")
        print(f'It is then used by Model.from_pretrained("hf:{repository}@{options.tag}").')
    return 0 if all(fact.present for fact in facts) else FAILED


def _read_card(folder: pathlib.Path) -> str | None:
    path = folder / CARD
    return read_text(path, what="the card of a model", largest=LARGEST_CARD) if path.exists() else None


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m omnisat_jax.publish", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="model folder, such as runs/NAME/model")
    parser.add_argument("--repo", default="", metavar="ORG/NAME", help="repository on the hub, for the card and the commands")
    parser.add_argument("--tag", default="v1.0", help="git tag of this release (default: %(default)s)")
    parser.add_argument("--license", default="", metavar="ID", help="license of the weights, as the hub spells it: apache-2.0, cc-by-4.0, ...")
    parser.add_argument("--citation", default="", type=words, metavar="TEXT", help="how to cite the data, where the folder does not say it")
    parser.add_argument("--out", default="", metavar="NEW_FOLDER", help="where a completed copy is written (default: FOLDER-published)")
    parser.add_argument("--check", action="store_true", help="only report; the exit code is 1 if something is missing")
    options = parser.parse_args(arguments)
    if "@" in options.repo or not _is_address(options.repo or "ORG/NAME", "v1.0"):
        raise UserError(f"--repo: expected a repository of the hub as ORG/NAME, found {printable(options.repo, 60)}")
    if not _is_address("ORG/NAME", options.tag):
        raise UserError(f"--tag: expected a git tag such as v1.0, found {printable(options.tag, 60) or 'nothing'}")
    if options.license and not LICENCE.fullmatch(options.license):
        raise UserError(f"--license: expected a license as the hub spells it, such as apache-2.0, found {printable(options.license, 60)}")
    return options


def _is_address(repository: str, tag: str) -> bool:
    try:
        check_address(f"{PREFIX}{repository}@{tag}")
    except HubError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(run_command(main))
