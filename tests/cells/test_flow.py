"""Flow: directions to the centres of nuclei, and nuclei from them."""

import numpy as np
import pytest

from dedl_fastai.cells.flow import centre_flow, follow_flow
from dedl_fastai.cells.watershed import instances
from dedl_fastai.inference.window import predict_bands, whole_planes


def touching(n: int = 4, edge: int = 15) -> np.ndarray:
    """Ids of n x n squares without a gap."""
    ids = np.arange(1, n * n + 1).reshape(n, n)
    return np.kron(ids, np.ones((edge, edge), int)).astype(np.int32)


def test_flow_points_to_the_centre_of_each_nucleus():
    flow = 2 * centre_flow(np.pad(touching(), 1)) - 1  # the edge of an image is not the rim of a nucleus
    np.testing.assert_allclose(flow[:, 8, 1], [0, 1])  # from the left
    np.testing.assert_allclose(flow[:, 1, 8], [1, 0])  # from the top
    np.testing.assert_allclose(flow[:, 15, 15], [-np.sqrt(0.5)] * 2, rtol=1e-6)
    np.testing.assert_array_equal(flow[:, 8, 8], 0)


def test_background_and_empty_images_do_not_move():
    labels = np.zeros((8, 9), np.int32)
    np.testing.assert_array_equal(centre_flow(labels), 0.5)
    labels[2:6, 2:6] = 7
    np.testing.assert_array_equal(centre_flow(labels)[:, labels == 0], 0.5)
    assert not follow_flow(centre_flow(labels), np.zeros((8, 9), bool)).any()


@pytest.mark.parametrize("edge", [7, 15, 61])
def test_a_true_flow_gives_the_nuclei_back(edge):
    labels = touching(3, edge)
    found = instances(np.ones(labels.shape), flow=centre_flow(labels))
    assert found.max() == 9 and np.mean(found == labels) > 0.97


def test_without_flow_there_are_no_nuclei():
    labels = touching()
    assert not follow_flow(np.full((2, *labels.shape), 0.5, np.float32), labels > 0).any()


def test_nuclei_depend_only_on_their_surroundings():
    labels = np.pad(touching(4), 30)
    flow = centre_flow(labels)
    whole, part = follow_flow(flow, labels > 0), follow_flow(flow[:, :70], labels[:70] > 0)
    np.testing.assert_array_equal(whole[:45] > 0, part[:45] > 0)
    pairs = np.unique(np.stack([whole[:45].ravel(), part[:45].ravel()]), axis=1)
    assert len(np.unique(pairs[0])) == pairs.shape[1] == len(np.unique(pairs[1]))


@pytest.mark.parametrize("tta", ["flips", "dihedral"])
def test_flows_turn_with_the_tile(tta):
    """A model that knows the true flow of whatever it sees gives the same with any augmentation."""
    labels = np.pad(touching(3), [(3, 8), (9, 2)])

    def oracle(tiles: np.ndarray) -> np.ndarray:
        seen = tiles[:, 0].astype(np.int32)
        return np.stack([np.concatenate([t[None] > 0, centre_flow(t)]) for t in seen]).astype(np.float32)

    pixels = labels[None].astype(np.float32)
    plain, turned = (whole_planes(predict_bands([oracle], pixels, tile=56, tta=t)) for t in ("none", tta))
    np.testing.assert_allclose(turned, plain, atol=1e-5)
