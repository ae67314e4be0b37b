"""`write_drawn_mask`: nuclei that were drawn in QuPath as the mask and the cell table of a field."""

from pathlib import Path

import numpy as np

from ..errors import UserError
from ..io.drawn_nuclei import read_drawn_nuclei
from ..io.fields.readers import open_field
from ..io.files import written_whole
from ..io.inform_writer import write_label_tiff
from ..io.masks import IGNORED


def write_drawn_mask(geojson: str | Path, image: str | Path, out: str | Path) -> str:
    """Write the nuclei in a GeoJSON file of QuPath as a mask of an image, and return a line that says what it holds.

    The mask has ids from 1 on, and `IGNORED` outside of QuPath's regions. If nuclei have classes, `<out>_cells.csv`
    lists label, place and class of each. Raises `UserError` for other files, and if `out` is not a TIFF.
    """
    out = Path(out)
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise UserError(f"out={out}: a mask is written as TIFF: give a name that ends in .tif.")
    with open_field(image) as field:
        shape, pixel_size = field.shape, field.pixel_size_um
    drawn = read_drawn_nuclei(geojson, shape)
    area = np.bincount(drawn.labels[drawn.known], minlength=int(drawn.labels.max()) + 1)
    ids = np.flatnonzero(area[1:]) + 1
    new_id = np.zeros(len(area), np.uint16 if len(ids) < 1 << 16 else np.uint32)
    new_id[ids] = np.arange(1, len(ids) + 1)
    labels = new_id[drawn.labels]
    if not drawn.known.all():
        labels = np.where(drawn.known, labels.astype(np.int32), np.int32(IGNORED))
    cells = drawn.cells[drawn.cells["label"].isin(ids)].assign(label=np.arange(1, len(ids) + 1))
    write_label_tiff(out, labels, pixel_size)
    named = int((cells["Phenotype"] != "").sum())
    if named:
        with written_whole(out.with_name(f"{out.stem}_cells.csv")) as tmp:
            cells.to_csv(tmp, index=False)
    known = "" if drawn.known.all() else f", {drawn.known.mean():.0%} of the field known"
    return f"{out}: {len(cells)} nuclei, {named} with a class{known}"
