"""One word per concept: names and phrases that were retired stay out of code, prose and configuration keys. CONTRIBUTING.md has the glossary."""

import functools
import io
import re
import tokenize

from omnisat_jax.config.versions import RENAMED
from tests.conftest import ROOT

# Identifiers of Python, whole.
NAMES = {
    "Setting": "RunContext",
    "Collaborators": "LoopHooks",
    "Agreement": "InputSpec",
    "agree": "resolve_input_spec, or hosts.check_same",
    "Assemble": "MakeBatch",
    "Drawn": "SampleDraw",
    "AlignedAssembly": "PretrainableModel",
    "Assembly": "MultimodalModel",
}
# Words of identifiers, between underscores.
PARTS = {
    "assembly": "architecture, or model",
    "assemble": "make_batch",
    "collaborators": "hooks",
    "agreement": "input_spec",
    "contrast": "contrastive",
}
IMAGE_CONTRAST = {
    "test_a_lake_leaves_the_fields_their_contrast",
    "test_unknown_pixels_are_grey_and_do_not_affect_contrast",
    "test_a_lake_does_not_reduce_the_contrast_of_fields",
}
FOLDERS = {"ahead": "aot"}

_WHAT = (
    r"tiles|samples|dates|steps|queries|query|tokens?|vectors?|patches|rows?|columns?|pixels|meters|m|channels|bands|labels|class|classes|"
    r"heads|keys?|widths?|layers?|blocks|maps?|encoders?|streams?|numbers|units|operations|deviations|devices?|chips?|hosts?|processes|cores?|threads?|"
    r"memory|bytes|[kKMGT]i?B|[MGT]FLOPs?|seconds|minutes|ms|s|files|records?|frames?|images?|folders?|lines?|runs|folds|stages|seeds|one|two|three|four"
)
_PER = (
    r"second|minute|hour|day|month|year|season|step|epoch|tile|sample|batch|patch|token|query|row|pixel|date|series|image|frame|record|file|"
    r"modality|sensor|band|channel|class|head|key|layer|level|resolution|chip|device|host|process|core|thread|worker|run|fold|stage|seed|dataset"
)
_VERBS = "covers|keeps|holds|has|is|can|contains|takes|needs|sees|stands"  # "how many meters a pixel covers"
# Prose: docstrings, comments, messages and Markdown.
PHRASES = {
    rf"\b({_WHAT}) an? ({_PER})\b(?! ({_VERBS})\b)": "per",
    # The idea; the contrast of an image may stay.
    r"(?<!\bin )(?<!\ball )(?<!\bimage )\b[Cc]ontrasts?\b(?! of (an|the) image)": "contrastive loss, contrastive learning",
    r"\b(Collaborators|AlignedAssembly)\b": "LoopHooks, PretrainableModel",
    r"\bomnisat_jax[./]ahead\b": "omnisat_jax.aot",
    r"\bwhat is no series\b": "non-series",
    r"\bat the door\b": "before anything else",
    r"\bstrangers?\b": "others, newcomers",
    "|".join(rf"\b{re.escape(key)}\b" for key in RENAMED): "the key's present name",
}
# Where the former names of keys are understood, tested or listed.
EXEMPT = {
    "data/preparation/builder.py",  # a sentence that is part of the bytes of records
    "CHANGELOG.md",
    "omnisat_jax/config/versions.py",
    "tests/architecture/test_vocabulary.py",
    "tests/config/test_versions.py",
    "tests/experiment/test_earlier_versions.py",
    "tests/inference/test_model_folder.py",
    "tests/reference_runs.py",
}

TEXTS = sorted(
    path
    for pattern in ("*.py", "*.md", "*.toml", "*.yml", "*.j2")
    for path in ROOT.rglob(pattern)
    if not {"runs", "build", "dist", "_build", "venv", ".venv", "jupyter_execute"} & set(path.relative_to(ROOT).parts)
    and path.relative_to(ROOT).as_posix() not in EXEMPT
)


# A file without these letters needs not be cut into tokens, which takes most of the time.
MENTIONED = re.compile(rf"\b({'|'.join(NAMES)})\b|(?<![a-zA-Z0-9])({'|'.join(PARTS)})(?![a-zA-Z0-9])")


def identifiers(text):
    """(line, name) of every identifier of a Python file."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            yield token.start[0], token.string


@functools.cache
def phrases():
    return [(re.compile(pattern), replacement) for pattern, replacement in PHRASES.items()]


def retired_names(text):
    """(line, name, replacement) of the retired identifiers of a Python file."""
    for line, name in identifiers(text) if MENTIONED.search(text) else ():
        if name in NAMES:
            yield line, name, NAMES[name]
        for part in name.split("_"):
            if part in PARTS and name not in IMAGE_CONTRAST:
                yield line, name, PARTS[part]


def retired_phrases(text):
    """(line, phrase, replacement) of the retired phrases of a text, also where a line ends in the middle of one."""
    flat = re.sub(r"\n[ \t]*#?[ \t]*", lambda gap: " " + "\0" * (len(gap[0]) - 1), text).replace("\0", "")
    starts = [gap.start() for gap in re.finditer("\n", text)]
    shrunk = [len(gap[0]) - 1 for gap in re.finditer(r"\n[ \t]*#?[ \t]*", text)]
    for pattern, replacement in phrases():
        for match in pattern.finditer(flat):
            position, line = match.start(), 1
            for start, less in zip(starts, shrunk):
                if position < start:
                    break
                position, line = position + less, line + 1
            yield line, match[0], replacement


def retired(path):
    """What of a file is retired, as sentences."""
    text, name = path.read_text(), path.relative_to(ROOT).as_posix()
    found = [*retired_names(text)] if path.suffix == ".py" else []
    found += retired_phrases(text)
    found += [(1, part, FOLDERS[part]) for part in path.relative_to(ROOT).with_suffix("").parts if part in FOLDERS]
    return [f"{name}:{line}: {word!r} is retired; use {new}" for line, word, new in sorted(found)]


def test_retired_words_stay_out():
    found = [sentence for path in TEXTS for sentence in retired(path)]
    assert not found, "\n".join(found)


def test_the_rules_find_what_they_are_for():
    assert [name for _, name, _ in retired_names("def contrast_weight(assembly): return Setting")] == ["contrast_weight", "assembly", "Setting"]
    wrong = "# one query a\n# patch\n\ntiles a second, GiB a chip, the contrast of tiles, model.assembly"
    assert [(line, phrase) for line, phrase, _ in sorted(retired_phrases(wrong))] == [
        (1, "query a patch"),
        (4, "GiB a chip"),
        (4, "contrast"),
        (4, "model.assembly"),
        (4, "tiles a second"),
    ]
    right = "the meters a pixel covers, a part of a tile, of a second run; in contrast, the image contrast; 3 tiles per second; contrastive.group_size, model.architecture"
    assert not [*retired_phrases(right)]
