"""Trees as arrays: the same probabilities as scikit-learn's, and checks of what is read from a file."""

import numpy as np
import pytest
from safetensors.numpy import load, save
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier

from dedl_fastai.cells.trees import Trees, boosted_trees, forest_trees
from dedl_fastai.errors import UserError


def data(k):
    rng = np.random.default_rng(k)
    x = rng.normal(size=(300, 6)).astype(np.float32)
    return x, np.argmax(x[:, :k] + 0.3 * rng.normal(size=(300, k)), axis=1)


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("model", [RandomForestClassifier, ExtraTreesClassifier])
def test_a_forest_gives_the_probabilities_of_scikit_learn(k, model):
    x, y = data(k)
    forest = model(20, random_state=0, class_weight="balanced").fit(x, y)
    assert np.allclose(forest_trees(forest).probabilities(x, "mean"), forest.predict_proba(x), atol=1e-6)


@pytest.mark.parametrize("k", [2, 4])
def test_boosted_trees_give_the_probabilities_of_scikit_learn(k):
    x, y = data(k)
    model = HistGradientBoostingClassifier(max_iter=15, random_state=0).fit(x, y)
    assert np.allclose(boosted_trees(model).probabilities(x, "softmax"), model.predict_proba(x), atol=1e-6)


def test_trees_survive_a_file():
    x, y = data(3)
    trees = forest_trees(ExtraTreesClassifier(5, random_state=0).fit(x, y))
    again = Trees.from_tensors(load(save(trees.tensors())))
    assert (again.probabilities(x, "mean") == trees.probabilities(x, "mean")).all()


def test_arrays_that_are_no_trees_are_refused():
    x, y = data(3)
    arrays = forest_trees(ExtraTreesClassifier(2, random_state=0).fit(x, y)).tensors()
    with pytest.raises(UserError, match="'left' is missing"):
        Trees.from_tensors({k: v for k, v in arrays.items() if k != "left"})
    with pytest.raises(UserError, match="does not follow"):
        Trees.from_tensors({**arrays, "left": arrays["left"] * 0})
    with pytest.raises(UserError, match="different lengths"):
        Trees.from_tensors({**arrays, "value": arrays["value"][1:]})


def test_no_samples_give_no_probabilities():
    assert Trees.constant().probabilities(np.zeros((0, 3)), "mean").shape == (0, 1)
