"""Every command, option and configuration key that the documentation names is one that its program accepts."""

import functools
import re

import pytest

from configs import base
from tests.conftest import ROOT
from tests.docs import commands, parsing

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += [path for folder in ("docs", "data", "benchmarks") for path in sorted((ROOT / folder).rglob("*.md")) if "_build" not in path.parts]
NAMES = {path: path.relative_to(ROOT).as_posix() for path in PAGES}
# Pages whose blocks of bash extend the project itself, so that only a changed copy of it accepts them: the test that runs every one of them.
RUN = {"docs/extend.md": "tests/docs/test_extend.py"}
GROUPS = ("data", "modalities", "model", "pretrain", "finetune", "contrastive", "reconstruction", "segmentation", "mesh", "eval")
KEY = re.compile(rf"(?:--config\.)?((?:{'|'.join(GROUPS)})\.\w+(?:\.\w+)*)(=\S+)?")
OPTION = re.compile(r"--\w[\w-]*")
NAMESAKES = ("model.json", "model.safetensors", "model.source", "model.views")  # files, and attributes of Python objects
BESIDE = {"data.pretrain_weights": "--config.data.pretrain_dirs=one,two"}  # what a key needs beside it


def mistakes(text, name, folder):
    """What the commands of a page have that their programs do not accept."""
    made = commands.made_files(text)
    for path, content in made.items():
        if path.startswith("configs/"):
            (folder / path).write_text(content)
    for command in commands.commands(text):
        if command.whole and name in RUN:
            continue
        try:
            parsing.check(command.program, list(command.words), whole=command.whole, made=tuple(made))
        except parsing.Mistake as mistake:
            yield f"{name}, {command}: {mistake}"


def unknown_spans(text, name):
    """The spans of a page that look like options or configuration keys and are none."""
    for line, span in commands.spans(text):
        option = OPTION.match(span)
        key = KEY.fullmatch(span)
        if key and key[1] not in NAMESAKES and not _is_module(key[1]):
            try:
                _check_key(key[1], (key[2] or "")[1:])
            except parsing.Mistake as mistake:
                yield f"{name}, line {line}: `{span}`: {mistake}"
        elif option and not span.startswith(("--config.", "--study.")) and option[0] not in known_options():
            yield f"{name}, line {line}: `{span}`: no program has this option"
        elif span.startswith(("--config.", "--study.")) and not re.search(r"[<*]|DIR", span):
            try:
                parsing.check_launch(span.split(), whole=False)
            except parsing.Mistake as mistake:
                yield f"{name}, line {line}: `{span}`: {mistake}"


@functools.cache
def known_options():
    return parsing.option_names()


def _is_module(name):
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").exists() or path.is_dir()


def _check_key(key, value):
    """A key of the configuration; a value, or each of several with | between them, is of its type and within its range."""
    if value and not re.search(r"[A-Z<]|\.\.\.", value):
        for each in value.split("|"):
            parsing.check_launch(["--config.{}={}".format(key, each.strip('"')), *([BESIDE[key]] if key in BESIDE else [])], whole=False)
        return
    group = base.base()
    if key.startswith("modalities."):
        group.modalities[key.split(".")[1]] = base.modality(kind="series", channels=1, resolution=10.0, patch=1, encoder="utae")
    for name in key.split("."):
        if not hasattr(group, "keys") or name not in group:
            raise parsing.Mistake(f"no key {key} in configs/base.py")
        group = group[name]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder in which the files of the project are found, and those that a page makes can be written."""
    (tmp_path / "configs").mkdir()
    for path in (ROOT / "configs").iterdir():
        (tmp_path / "configs" / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("path", PAGES, ids=NAMES.get)
def test_commands_are_accepted(path, checkout):
    assert not [*mistakes(path.read_text(), NAMES[path], checkout)]


@pytest.mark.parametrize("path", PAGES, ids=NAMES.get)
def test_options_and_keys_exist(path, checkout):
    assert not [*unknown_spans(path.read_text(), NAMES[path])]


@pytest.mark.parametrize(("page", "test"), RUN.items())
def test_commands_that_are_not_parsed_are_run(page, test):
    text = (ROOT / test).read_text()
    assert f'"{page.split("/")[1]}"' in text and "subprocess.run" in text
    assert all(info == "bash" for _, info, body in commands.blocks((ROOT / page).read_text()) if commands.NAMED.search(body) and not info.startswith(("python", "diff")))


def test_pages_have_commands():
    found = [command for path in PAGES for command in commands.commands(path.read_text()) if command.whole]
    assert len(found) > 40 and {command.program for command in found} >= {"python", "pip", "omnisat-export"}


BLOCK = "```{}\n{}\n```\n"


@pytest.mark.parametrize(
    ("info", "row", "message"),
    [
        ("", "python launch.py --config=configs/pastis.py --config.finetune.stepz=3", "did you mean 'steps'"),
        ("bash", "python launch.py --config=configs/pastis.py --config.finetune.steps=many", "expected a whole number"),
        ("bash", "python launch.py --config=configs/pastis.py:hdd", "did you mean 'hd'"),
        ("bash", "python launch.py --config=configs/pasti.py", "No such file"),
        ("bash", "python launch.py --config=configs/pastis.py --flods=1,2", "did you mean --folds"),
        ("bash", "python launch.py --config=configs/pastis.py --folds=1,x", "expected numbers"),
        ("bash", "python launch.py --config=configs/pastis.py --config.data.protocol=fivefold", "data.protocol: expected one of"),
        ("bash", "python launch.py --config=configs/pastis.py --compile_for=v9:4x4", "v9"),
        ("bash", "python launch.py --config=configs/pastis.py --study_processes=2", "no effect without --study"),
        ("bash", "python launch.py --study=configs/studies/encoders.py --study.sedes=1", "did you mean 'seeds'"),
        ("bash", "python launch.py --study=configs/studies/encoders.py --study.only=none_such", "not one of the rows"),
        ("", "srun --nodes=4 python launch.py --config=... --workdr=run", "--workdr: no such option"),
        ("", 'gcloud ssh NAME --command="cd x && python launch.py --confg=configs/pastis.py"', "--confg: no such option"),
        ("console", "$ python -m data.verify pastis --raw DIR --alow link", "--alow: expected an option"),
        ("", "python -m data.prepare pastis --raw DIR", "--out"),
        ("", "python -m data.prepare pastsi --raw DIR --out DIR", "pastsi"),
        ("", "cd x && python -m data.prepare pastis --raw DIR --out DIR --jobs two", "expected a whole number, found 'two'"),
        ("{code-cell}", "%%bash\npython -m omnisat_jax.predict --model m --serie s2=a --out \\\n   map --image_s spot=b", "--image_s: expected an option"),
        ("", "python -m omnisat_jax.predict finish --out map --zzz", "--zzz"),
        ("", "python -m omnisat_jax.predict ... --out map --shrad 0/16", "--shrad: expected an option"),
        ("", "python -m benchmarks.classical ... --model=forest", "forest"),
        ("", "python -m data.prepre pastis", "no such module"),
        ("", "omnisat-export runs/model --format jx --out model.zip", "expected one of jax, onnx"),
        ("", "omnisat-mapp runs/model", "omnisat-mapp: expected one of"),
        ("", "pip install -r requirement.txt", "no file requirement.txt"),
        ("", 'pip install -e ".[gsc]"', "no extra gsc"),
        ("", 'pip install "omnisat-jax[hubb]"', "no extra hubb"),
        ("", "pip install jax2onx==0.17.1", "not a requirement of this project"),
        ("", "python make_none.py", "no file make_none.py"),
        ("", "make x  # python -m data.no_such", "no such module"),
    ],
)
def test_a_mistake_in_a_command_is_found(info, row, message, checkout):
    (found,) = mistakes(BLOCK.format(info, row), "page.md", checkout)
    assert message.lower() in found.lower()


@pytest.mark.parametrize(
    "text",
    [
        "a sentence with `python -m data.verify DATASET --raww DIR` in it",
        "on two lines: `python launch.py\n--config.finetune.stepz=3`",
    ],
)
def test_a_mistake_in_a_sentence_is_found(text, checkout):
    assert len([*mistakes(text, "page.md", checkout)]) == 1


@pytest.mark.parametrize(
    "span",
    ["data.max_badd", "data.on_bad=ignore", "--config.data.on_bad=ignore", "--config.dat.on_bad=skip", "modalities.s2.date_train", "model.fusion.depth=deep",
     "--float61", "--study.sedes=1"],
)  # fmt: skip
def test_a_mistake_in_a_span_is_found(span, checkout):
    assert len([*unknown_spans(f"text `{span}` text", "page.md")]) == 1


@pytest.mark.parametrize(
    "text",
    [
        BLOCK.format("python", "python = launch --bad"),
        BLOCK.format("", "an output without a command"),
        "`data.verify`, `data.max_bad`, `mesh.fsdp=F`, `data.on_bad=skip`, `modalities.s2.dates_eval`, `--float16`, `model.norm=pixel`",
        BLOCK.format("bash", "python -m data.show tiles --raw lowland --tile a && python launch.py --config=configs/pastis.py \\\n  --folds=1,2 # slow"),
        BLOCK.format("python made.py", "print(1)") + BLOCK.format("bash", "python made.py"),
    ],
)
def test_what_is_right_passes(text, checkout):
    assert not [*mistakes(text, "page.md", checkout), *unknown_spans(text, "page.md")]
