"""Shares of work: each piece is in exactly one of them."""

import pytest
from hypothesis import given, strategies as st

from omnisat_jax.errors import UserError
from omnisat_jax.shards import Shard


@given(st.lists(st.integers(), unique=True), st.integers(1, 9))
def test_every_piece_is_in_one_shard(work, count):
    shares = [Shard(index, count).of(work) for index in range(count)]
    assert sorted(piece for share in shares for piece in share) == sorted(work)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_text_of_a_shard_is_read_back():
    assert Shard.parse("2/3", "--shard") == Shard(2, 3) and str(Shard(2, 3)) == "2/3"


@pytest.mark.parametrize("text", ["3/3", "0/0", "1", "a/b", "-1/2", "1/2/3", "/", "٠/٢", "1/99999999999"])
def test_other_texts_are_refused(text):
    with pytest.raises(UserError, match="--parts: expected I/N with I from 0 to N - 1"):
        Shard.parse(text, "--parts")


@pytest.mark.parametrize(("index", "count"), [(2, 2), (-1, 2), (0, 0)])
def test_other_numbers_are_refused(index, count):
    with pytest.raises(UserError, match="shard: expected an index from 0"):
        Shard(index, count)
