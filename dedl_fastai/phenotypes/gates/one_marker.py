"""`gate_of`: the gate of one marker from the intensities of its cells."""

from collections.abc import Sequence

import numpy as np
from skimage.filters import threshold_multiotsu

from ...errors import UserError
from .gate import HAND, Gate
from .log_scale import LogScale
from .mixture import FEW, Mixture
from .options import GateOptions

_MIN_SHARE, _MIN_CELLS = 0.001, 3  # fewer positive cells are as likely debris as cells of a type


def gate_of(
    marker: str,
    values: Sequence[np.ndarray],  # intensities of the cells of each table, NaN where unknown
    columns: Sequence[str],  # that they are from
    options: GateOptions,
    *,
    given: Sequence[float] | None = None,  # one or two cut-offs by hand, which are used unchanged
    control: np.ndarray | None = None,  # intensities of the cells of a negative control
    n_cuts: int = 1,  # 2 to look for dim and bright cells
) -> Gate:
    """Determine the cut-off of a marker, or the reason why there is none, and describe how separable its cells are."""
    every = np.concatenate([np.array([]), *values])
    known = every[np.isfinite(every)]
    scale = LogScale.of(known)
    logs = scale.log(known)
    mixture = Mixture.fit(logs) if len(known) > 1 and np.ptp(logs) > 0 else None
    cuts: list[float] = []
    if given is not None:
        method, cuts, reason = HAND, [float(c) for c in given], ""
    else:
        method = options.method
        reason = _no_values(every, known) or (_one_group(logs, mixture) if method == "mixture" else "")
        if not reason:
            cuts = _cuts(logs, scale, mixture, method=method, n_cuts=n_cuts, control=(control, options.quantile))
            reason = _too_few(known, cuts[0]) if method != "quantile" else ""
    cut = None if reason else cuts[0]
    side = _nearest_cut(mixture, scale, cut)
    return Gate(
        marker,
        columns=tuple(columns),
        method=method,
        cells=len(known),
        tables=len(values),
        cut=cut,
        bright=cuts[1] if len(cuts) > 1 and not reason else None,
        n_cuts=max(n_cuts, len(cuts)),
        reason=reason,
        positive=0 if cut is None else int((known > cut).sum()),
        top=float(known.max(initial=0.0)),
        missing=len(every) - len(known),
        mixture=mixture,
        offset=scale.offset,
        overlap=None if side is None or mixture is None else mixture.overlap(side),
        in_doubt=None if side is None or mixture is None else mixture.in_doubt(logs, side),
    )


def _no_values(values: np.ndarray, known: np.ndarray) -> str:
    if not len(values):
        return "there are no cells"
    if not len(known):
        return "no cell has a value"
    if len(known) == 1:
        return "there is only one cell"
    return "every cell has the same value" if np.ptp(known) == 0 else ""


def _one_group(logs: np.ndarray, mixture: Mixture | None) -> str:
    one = mixture is None or mixture.n_groups < 2
    return f"the intensities of the {len(logs)} cells have one peak, not a negative and a positive one" if one else ""


def _too_few(known: np.ndarray, cut: float) -> str:
    positive = int((known > cut).sum())
    if positive < max(_MIN_CELLS, _MIN_SHARE * len(known)) and len(known) >= FEW:
        return f"only {positive} of {len(known)} cells are in the brighter group, which are too few"
    return ""


def _cuts(
    logs: np.ndarray,
    scale: LogScale,
    mixture: Mixture | None,
    *,
    method: str,
    n_cuts: int,
    control: tuple[np.ndarray | None, float],
) -> list[float]:
    """One cut-off, or two if they are asked for and there are three groups, as intensities."""
    if method == "quantile":
        if n_cuts > 1:
            raise UserError(
                "method=quantile gives one cut-off: dim and bright cells need another method, or two by hand."
            )
        values, share = control
        known = np.array([]) if values is None else values[np.isfinite(values)]
        if not len(known):
            raise UserError("method=quantile needs the cells of a negative control: give `control`.")
        return [float(np.quantile(known, share))]
    if method == "otsu":
        classes = min(n_cuts + 1, len(np.unique(logs)))
        return [float(scale.intensity(c)) for c in threshold_multiotsu(logs, classes)]
    assert mixture is not None  # a marker without two groups has a reason already
    chosen = mixture.cuts[:2] if n_cuts > 1 else (mixture.cuts[mixture.best_cut],)
    return [float(scale.intensity(c)) for c in chosen]


def _nearest_cut(mixture: Mixture | None, scale: LogScale, cut: float | None) -> int | None:
    """Number of the mixture's cut that is nearest to a cut-off; None if there is one group."""
    if mixture is None or cut is None or not mixture.cuts:
        return None
    return int(np.argmin(np.abs(np.array(mixture.cuts) - scale.log(np.array(cut)))))
