"""A field of one patient with an inForm table."""

import numpy as np
import pandas as pd
import pytest

from dedl_fastai.io.inform_writer import write_component_tiff


@pytest.fixture(scope="session")
def one_field(tmp_path_factory):
    """A field of one patient with an inForm table: type A is bright in the second channel; no outlines, no mask."""
    folder = tmp_path_factory.mktemp("one")
    rng = np.random.default_rng(0)
    y, x = (a.ravel() for a in np.mgrid[10:190:12, 10:390:12])
    planes = {n: rng.gamma(2, 1, (200, 400)).astype(np.float32) for n in ("DAPI", "CD8")}
    kinds = np.where(rng.random(len(y)) < 0.3, "A", "B")
    for at_y, at_x, kind in zip(y, x, kinds, strict=True):
        planes["CD8"][at_y - 3 : at_y + 4, at_x - 3 : at_x + 4] += 6 * (kind == "A")
    write_component_tiff(
        folder / "S1_[1,1]_component_data.tif",
        planes=planes,
        colors=[(0, 0, 255), (0, 255, 0)],
        thumbnail=np.zeros((50, 100, 3), np.uint8),
        pixel_size_um=0.5,
        origin_um=(0.0, 0.0),
        slide_id="S1",
        software="test",
    )
    table = pd.DataFrame({"Phenotype": kinds, "Cell ID": range(1, len(y) + 1)})
    table["Cell X Position"], table["Cell Y Position"] = x, y
    table.to_csv(folder / "S1_[1,1]_cell_seg_data.txt", sep="\t", index=False)
    return folder
