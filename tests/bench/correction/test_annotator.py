"""The simulated annotator: what it writes is the truth in the boxes, and it counts what it had to change."""

import json

import numpy as np
import tifffile

from dedl_fastai.bench.correction.annotator import annotate
from dedl_fastai.data import Cohort
from dedl_fastai.io import read_labels, write_ome_tiff
from dedl_fastai.io.masks import IGNORED


def test_the_boxes_have_the_true_nuclei_and_the_rest_is_not_checked(tmp_path):
    truth = np.kron(np.arange(1, 33).reshape(4, 8), np.ones((10, 10), int))
    truth[::10], truth[:, ::10] = 0, 0
    predicted = truth.copy()
    predicted[truth == 2] = 0  # missed
    predicted[1:10, 20:31][truth[1:10, 20:31] == 0] = 3  # 3 and 4 are merged
    predicted[truth == 4] = 3
    predicted[10, 1:9] = 40  # false
    predicted[truth == 8] = 0  # missed outside the box
    write_ome_tiff(tmp_path / "a_labels.ome.tif", predicted.astype(np.uint32), ["nucleus id"])
    tifffile.imwrite(tmp_path / "truth.tif", truth.astype(np.uint16))
    tifffile.imwrite(tmp_path / "a.tif", truth.astype(np.uint8))
    (tmp_path / "fields").mkdir()
    (tmp_path / "fields" / "a.json").write_text(json.dumps({"image": str(tmp_path / "a.tif")}))
    boxes = [(0, 0, 20, 30), (0, 30, 20, 50)]
    assert annotate(tmp_path, "a", tmp_path / "truth.tif", boxes) == 4
    (row,) = Cohort.load(tmp_path).rows()
    labels = read_labels(row.mask)
    np.testing.assert_array_equal(labels[:20, :50] > 0, truth[:20, :50] > 0)
    assert len(np.unique(labels[:20, :50])) == 11 and (labels[:, 50:] == IGNORED).all()
    assert annotate(tmp_path, "a", tmp_path / "truth.tif", to=tmp_path / "all") == 5
    assert (read_labels(tmp_path / "all" / "corrections" / "a.ome.tif") > 0).sum() == (truth > 0).sum()
    np.testing.assert_array_equal(read_labels(row.mask), labels)
