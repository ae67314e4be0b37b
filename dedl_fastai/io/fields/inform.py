"""TIFF descriptions as written by Akoya's inForm and Phenochart, and inForm's segmentation maps."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import tifffile

from ...errors import UserError
from ..files import existing_file
from .tiff_pages import all_pages, check_complete, damage_refused, open_tiff, read_page

ROLES = ("tissue", "nucleus", "cytoplasm", "membrane")
_QPI_ROOT = "PerkinElmer-QPI-ImageDescription"


def parse_xml(text: str | None) -> ElementTree.Element | None:
    """The root of an XML page description, or None. inForm declares utf-16 but stores 8 bits: drop the declaration."""
    body = re.sub(r"^\ufeff?\s*<\?xml[^>]*\?>", "", text or "").strip("\0 \r\n\t")
    if not body.startswith("<"):
        return None
    try:
        return ElementTree.fromstring(body)
    except ElementTree.ParseError:
        return None


def qpi_root(page: tifffile.TiffPage) -> ElementTree.Element | None:
    """The page's `PerkinElmer-QPI-ImageDescription` element, or None if there is none."""
    root = parse_xml(page.description)
    return root if root is not None and root.tag == _QPI_ROOT else None


def child_text(root: ElementTree.Element, name: str) -> str:
    """Text of the direct child `name`, "" if absent (`ScanProfile` contains other `Name` elements further down)."""
    return (root.findtext(name) or "").strip()


def component_name(root: ElementTree.Element) -> str:
    """Channel name: `Name` ("DAPI", "CD8 (Opal 540)"), preceded by the antibody in `Biomarker` in newer files."""
    name, marker = child_text(root, "Name"), child_text(root, "Biomarker")
    return f"{marker} ({name})" if marker and marker.lower() not in name.lower() else name or marker


def component_color(root: ElementTree.Element) -> tuple[int, int, int] | None:
    """Display colour (r, g, b) or None. The file has r,g,b; some versions put alpha in front."""
    parts = child_text(root, "Color").split(",")
    if len(parts) < 3 or not all(p.strip().isdigit() for p in parts):
        return None
    r, g, b = (int(p) for p in parts[-3:])
    return r, g, b


def _role(description: str) -> str | None:
    """The role of a page in a segmentation map, one of `ROLES`, or None for another page."""
    root = parse_xml(description)
    if root is None:
        return None
    if root.tag == "TissueClassMap":
        return "tissue"
    kind = child_text(root, "CompartmentType").lower()
    return kind if root.tag == "SegmentationImage" and kind in ROLES else None


def tissue_classes(path: str | Path) -> list[str]:
    """Names of the tissue categories of a segmentation map, in the order of their ids (0, 1, ...).

    They are the meaning of the values of `read_segmentation_maps(path)["tissue"]`. Returns [] for a file without a
    tissue page.
    """
    path = existing_file(path)
    with open_tiff(path) as tif:
        roots = [parse_xml(p.description) for p in all_pages(path, tif)]
    tissue = [r for r in roots if r is not None and r.tag == "TissueClassMap"]
    return [child_text(e, "Name") for r in tissue for e in r.findall("Entry")]


def read_segmentation_maps(path: str | Path) -> dict[str, np.ndarray]:
    """Read inForm's `*_binary_seg_maps.tif` as {'tissue', 'nucleus', 'cytoplasm', 'membrane'} -> (H, W), if present.

    Pages are identified by the role in their XML, not by their order. Nucleus and cytoplasm hold the id of the cell
    (`Cell ID` of the table), tissue the id of the class (see `tissue_classes`), membrane the id of the cell or 0/1. The
    integer type is that of the file. Raises `UserError` if the file is damaged or is not a segmentation map.
    """
    path = existing_file(path)
    with open_tiff(path) as tif, damage_refused(path, "its page list"):
        pages = {role: page for page in all_pages(path, tif) if (role := _role(page.description))}
        if not pages:
            raise UserError(f"{path} is not an inForm segmentation map: no page names a tissue or cell compartment.")
        check_complete(path, tif, list(pages.values()))
        return {role: read_page(path, page) for role, page in pages.items()}
