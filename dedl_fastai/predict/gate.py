"""`gate_cells`: determine the cut-offs of markers from tables of cells; writes gates.json and a page with pictures."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from ..errors import UserError
from ..phenotypes.columns import plain_name
from ..phenotypes.gates.fit import Cuts, fit_gates
from ..phenotypes.gates.gate import HAND
from ..phenotypes.gates.gates import ALL, FILE, Gates
from ..phenotypes.gates.options import GateOptions
from ..phenotypes.rules import Rules
from .cell_sources import cell_sources, markers_of
from .correct import correct_results
from .folder_gates import moved_meanwhile_last, newest_gates
from .gate_agreement import Agreement
from .gate_page import write_gate_page
from .retype import Retyping

log = logging.getLogger(__name__)


def gate_cells(
    inputs: Sequence[str | Path],  # folders that predict wrote, inForm's or Van Buren's tables, or folders of them
    out: str | Path = FILE,  # the page is written next to it, with the ending .html
    options: GateOptions | None = None,
    *,
    markers: Iterable[str] = (),  # default: those of the rules, else all that the tables have
    rules: str | Path | Rules = "",
    given: Mapping[str, Cuts] | None = None,  # marker -> cut-off by hand, or those of dim and bright cells
    control: Sequence[str | Path] = (),  # cells of a negative control, for method=quantile
    patient: str = "",  # regular expression that finds the patient in a field's name
    apply: bool = False,  # also give the cells of the results the types by these gates; `out` is then their gates.json
) -> Gates:
    """Write gates.json and its page, and return the gates. Raises `UserError` for unusable tables and options."""
    retyping = _retyping(inputs, rules) if apply else None  # it checks what is needed
    if retyping and correct_results(retyping.out):
        retyping = _retyping(inputs, rules)
    if retyping:
        out, rules = retyping.out / FILE, retyping.rules
    else:
        out = Path(out)
        _check_out(out, inputs)
    parsed = rules if isinstance(rules, Rules) else Rules.load(rules) if rules else None
    sources = cell_sources(inputs, patient)
    wanted = list(markers) or (parsed.markers if parsed else markers_of(sources))
    given = _spelt_as(wanted, given or {})
    with moved_meanwhile_last(retyping.out) if retyping else nullcontext():
        if retyping:
            given = _cuts_by_hand(retyping.out, wanted) | given
        gates = fit_gates(
            {s.name: s.table for s in sources},
            wanted,
            options,
            given=given,
            two_cuts=parsed.with_two_cuts if parsed else (),
            origins={s.name: s.origin for s in sources},
            control=[s.table for s in cell_sources(control)] if control else (),
        )
        gates = replace(gates, patient=patient if gates.per == "patient" else "")
        if retyping:
            retyping.prepare_types(gates, {s.name: s.origin for s in sources})
        gates.save(out)
        agreement = Agreement.of(gates, sources, parsed)
        _log(agreement)
        write_gate_page(out.with_suffix(".html"), gates, sources, agreement)
        if retyping:
            retyping.commit()
    return gates


def _log(agreement: Agreement | None) -> None:
    """Say how the cut-offs compare with the phenotypes that the tables have."""
    if agreement is None:
        return
    for marker in agreement.above:
        log.info("%s, phenotypes of the tables above the cut-off: %s", marker, agreement.of_marker(marker))
    if agreement.sentence:
        log.info("%s", agreement.sentence)


def _retyping(inputs: Sequence[str | Path], rules: str | Path | Rules) -> Retyping:
    if len(inputs) != 1:
        raise UserError(f"`apply` changes the types in one folder of results, and {len(inputs)} inputs are given.")
    return Retyping(inputs[0], rules)


def _check_out(out: Path, inputs: Sequence[str | Path]) -> None:
    """Raise `UserError` if the file is the gates of one of the inputs, whose cells would then contradict it."""
    for path in map(Path, inputs):
        if out.resolve() == (path / FILE).resolve():
            raise UserError(
                f"{out} belongs to the results in {path}, which were made with it: choose another `out`, or give "
                f"`apply` to change them too."
            )


def _cuts_by_hand(out: Path, wanted: Sequence[str]) -> dict[str, Cuts]:
    """Cut-offs by hand, of the page or of the last `apply`, whichever is newer: they stay unless others are given."""
    path = newest_gates(out)
    gates = Gates.load(path).spelt_as(wanted) if path else Gates({})
    if any(gate.method == HAND for group, own in gates.groups.items() if group != ALL for gate in own.values()):
        log.warning("%s: cut-offs by hand of single slides or patients are not applied: give `given`", path)
    cuts: dict[str, Cuts] = {m: gate.threshold for m, gate in gates.common().items() if gate.method == HAND}
    if others := [m for m in cuts if m not in wanted]:
        text = "%s: the cut-off by hand of %s is not applied, as it is none of the markers: %s"
        log.warning(text, path, ", ".join(others), ", ".join(wanted))
    return {m: c for m, c in cuts.items() if m in wanted}


def _spelt_as(markers: Sequence[str], given: Mapping[str, Cuts]) -> dict[str, Cuts]:
    known = {plain_name(m): m for m in markers}
    unknown = [m for m in given if plain_name(m) not in known]
    if unknown:
        raise UserError(f"a cut-off is given for {unknown[0]}, which is none of the markers: {', '.join(markers)}.")
    return {known[plain_name(m)]: cuts for m, cuts in given.items()}
