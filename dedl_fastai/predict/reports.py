"""Reports of finished results: the page of `predict` again, and the report for the SITC checklist."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..io.files import write_text
from .report import report_page
from .result_folder import ranked_fields, ranked_regions
from .sitc import sitc_text
from .study import read_study


def write_page(folders: Sequence[str | Path], target: Path) -> None:
    """Write the page of one folder of results again. Raises `UserError` for other folders."""
    study = read_study(folders)
    if len(folders) != 1 or study.results is None:
        raise UserError(f"{folders[-1]} is a run: `sitc` describes runs; the page is about one folder of results.")
    out = study.results
    page = report_page(out, study.records, look_at=ranked_fields(out), regions=ranked_regions(out))
    write_text(target, page)


def write_sitc(folders: Sequence[str | Path], target: Path) -> None:
    """Write the report for the SITC checklist, of results and of runs, in Markdown."""
    write_text(target, sitc_text(read_study(folders)))
