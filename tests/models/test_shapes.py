import jax
import jax.numpy as jnp
import pytest

from omnisat_jax.errors import UserError
from omnisat_jax.files.problems import Problems
from omnisat_jax.models.shapes import POSITIONS, array, compare, model_shapes, shapes_of, with_grid_of
from tests.models.worlds import everything, inputs_of, make


@pytest.mark.parametrize("preset", ["demo", "satclip", "dual", "skysense", "published"])
def test_shapes_are_those_of_real_parameters(preset):
    model, inputs = make(preset)
    made = jax.eval_shape(lambda: model.init(jax.random.key(0), inputs, everything(model), train=False))["params"]
    expected = {"/".join(key.key for key in path): leaf.shape for path, leaf in jax.tree_util.tree_flatten_with_path(made)[0]}
    assert model_shapes(model) == expected


def test_positions_follow_the_grid_of_a_file():
    model, _ = make("published")
    inputs = inputs_of(model.specs, patches=3)
    made = jax.eval_shape(lambda: model.init(jax.random.key(0), inputs, everything(model), train=False))["params"]["fusion"]
    found = {name: made[name.split("/")[1]].shape for name in POSITIONS}
    shapes = with_grid_of(model_shapes(model), found)
    assert {name: shapes[name] for name in POSITIONS} == found and found["fusion/position"][0] == 10


@pytest.mark.parametrize("rows", [(9, 9), (10, 5), (1, 1)])
def test_positions_of_no_grid_are_left_to_be_refused(rows):
    model, _ = make("published")
    expected = model_shapes(model)
    assert with_grid_of(expected, {name: (count, 16) for name, count in zip(POSITIONS, rows)}) == expected


def test_a_model_that_cannot_be_built_is_one_sentence():
    def init(key, x):
        return {"params": {"w": jax.random.normal(key, x.shape) @ jnp.ones(3)}}

    assert shapes_of(init, array(2, 3)) == {"w": (2,)}
    with pytest.raises(UserError, match="expected settings of a model that can be built, found others"):
        shapes_of(init, array(2, 4))


def test_every_difference_is_named():
    problems = Problems("model", UserError, noun="problem", verbs=("is there", "are there"))
    compare({"a": (1,), "b": (2,), "c": (3,)}, {"a": (1,), "c": (4,), "d": (5,)}, problems, "weights")
    with pytest.raises(UserError) as error:
        problems.finish()
    assert str(error.value).splitlines()[1:] == [
        "weights: b: expected (2,), found none",
        "weights: c: expected (3,), found (4,)",
        "weights: d: expected no such parameter, found (5,)",
    ]
