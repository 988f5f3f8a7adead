"""Colors of classes, in pictures and in maps."""

from collections.abc import Sequence

# Matplotlib's "tab20".
_HUES = (
    "#1f77b4", "#aec7e8", "#ff7f0e", "#ffbb78", "#2ca02c", "#98df8a", "#d62728", "#ff9896", "#9467bd", "#c5b0d5",
    "#8c564b", "#c49c94", "#e377c2", "#f7b6d2", "#7f7f7f", "#c7c7c7", "#bcbd22", "#dbdb8d", "#17becf", "#9edae5",
)  # fmt: skip
_FIRST = "#000000"
_DARKER = 0.7  # of each further round of the hues


def class_colours(count: int, colours: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns the color of each class as "#rrggbb".

    Args:
      count: number of classes.
      colours: of the classes, if they have some; () = black for class 0, as in the notebooks of the PASTIS authors, and twenty hues, which
        come back darker where there are more classes.
    """
    return tuple(colours) or (_FIRST, *(_hue(index) for index in range(1, count)))


def _hue(index: int) -> str:
    turns, hue = divmod(index, len(_HUES))
    # Class 0 is black, so the first hue is still free for class 20.
    shade = _DARKER ** (turns - (hue == 0))
    return "#" + bytes(round(part * shade) for part in bytes.fromhex(_HUES[hue][1:])).hex()
