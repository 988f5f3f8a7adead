"""Numbers and nouns in messages."""

SAME = ("series", "px")  # singular and plural alike


def plural(count: int, noun: str) -> str:
    """The noun in the form that agrees with a number: plural(1, "date") is "date", plural(0, "date") is "dates"."""
    if count == 1 or noun in SAME:
        return noun
    if noun.endswith("y") and noun[-2:-1] not in tuple("aeiou"):
        return f"{noun[:-1]}ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def number_of(count: int, noun: str) -> str:
    """A number with its noun: number_of(1, "block") is "1 block", number_of(1200, "block") is "1,200 blocks"."""
    return f"{count:,} {plural(count, noun)}"
