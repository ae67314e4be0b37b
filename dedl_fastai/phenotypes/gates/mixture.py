"""`Mixture`: Gaussians fitted to the logarithms of a marker, and the groups of cells that they form."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # a prediction without rules fits nothing, and need not wait for these imports
    from sklearn.mixture import GaussianMixture

FEW = 30  # values, below which a third Gaussian or a small group would be chance
_MOST = 3  # Gaussians: the logarithms of a group are often skewed, and then need two
_SAMPLE = 5000  # evenly spaced quantiles of the values that are fitted: more change nothing but the time
_MIN_VARIANCE = 1e-3  # of a Gaussian of logarithms: 3 % of the intensity
_GRID = 2000
_VALLEY = 0.95  # two peaks count as two groups if the density between them is below this share of the lower one
_BRIGHTER, _ASHMAN = 2.5, 2.0  # ratio of intensities, and distance, from which a shoulder is a group of its own
_TAIL = 0.998  # quantile at which a Gaussian starts, to find groups of few cells
_SURE = 0.9  # cells with a smaller probability of their group are in doubt


@dataclass(frozen=True)
class Mixture:
    """Gaussians in the order of their means; `groups[i]` is the number of the group that Gaussian i belongs to."""

    weights: tuple[float, ...]
    means: tuple[float, ...]
    sds: tuple[float, ...]
    groups: tuple[int, ...] = ()
    cuts: tuple[float, ...] = ()  # logarithms at which the next group becomes more probable

    @classmethod
    def fit(cls, logs: np.ndarray) -> "Mixture":
        """Fit one, two or three Gaussians, as BIC decides, to at least two values.

        A group is a peak of their density, so that two Gaussians that overlap are one group. Where there is one peak,
        the upper Gaussians are still a group of their own if they are at least 2.5 times brighter than the lower ones
        and Ashman's D, the distance of the means in standard deviations, is at least 2.
        """
        sample = np.sort(logs)[np.linspace(0, len(logs) - 1, min(len(logs), _SAMPLE)).round().astype(int)]
        most = min(len(np.unique(sample)), 2 if len(logs) < FEW else _MOST)
        fits = [_best_fit(sample, k) for k in range(1, most + 1)]
        best = min(fits, key=lambda fit: fit.bic(sample[:, None]))
        order = np.argsort(best.means_.ravel())
        sds = np.sqrt(best.covariances_.ravel()[order])
        return cls(tuple(best.weights_[order]), tuple(best.means_.ravel()[order]), tuple(sds))._grouped()

    def _grouped(self) -> "Mixture":
        """The mixture with its groups, separated at the valleys of the density that are deep enough."""
        low, high = self.means[0] - 3 * self.sds[0], self.means[-1] + 3 * self.sds[-1]
        grid = np.linspace(low, high, _GRID)
        valleys = _valleys(self.densities(grid).sum(axis=0))
        groups = np.searchsorted(grid[valleys], self.means).tolist() if valleys else self._shoulder()
        ids = {g: i for i, g in enumerate(dict.fromkeys(groups))}
        grouped = replace(self, groups=tuple(ids[g] for g in groups))
        cuts = tuple(grouped._cut_above(i) for i in range(grouped.n_groups - 1))
        return replace(grouped, cuts=cuts)

    def _shoulder(self) -> list[int]:
        """Groups of a density with one peak: its Gaussians, split where they are farthest apart, if that is enough."""
        k = len(self.means)
        splits = {i: self._distance(i) for i in range(1, k)}
        far = {i: d for i, (ratio, d) in splits.items() if ratio >= np.log(_BRIGHTER) and d >= _ASHMAN}
        split = max(far, key=lambda i: far[i], default=k)
        return [int(i >= split) for i in range(k)]

    def _distance(self, split: int) -> tuple[float, float]:
        """Difference of the means of the Gaussians below and from `split` on, and Ashman's D between the two."""
        w, m, s = (np.array(values) for values in (self.weights, self.means, self.sds))
        means, variances = [], []
        for part in (slice(None, split), slice(split, None)):
            means.append(np.average(m[part], weights=w[part]))
            variances.append(np.average(s[part] ** 2 + (m[part] - means[-1]) ** 2, weights=w[part]))
        return float(means[1] - means[0]), float((means[1] - means[0]) / np.sqrt(np.mean(variances)))

    @property
    def n_groups(self) -> int:
        """Number of groups: 1 if there are no positive cells, or no negative ones."""
        return max(self.groups) + 1

    def densities(self, logs: np.ndarray) -> np.ndarray:
        """Density of each Gaussian, times its weight, as (k, n)."""
        from scipy.stats import norm

        columns = [np.array(values)[:, None] for values in (self.weights, self.means, self.sds)]
        return columns[0] * norm.pdf(np.asarray(logs)[None], columns[1], columns[2])

    def group_densities(self, logs: np.ndarray) -> np.ndarray:
        """Density of each group, times its weight, as (groups, n)."""
        parts = self.densities(logs)
        return np.stack([parts[np.array(self.groups) == g].sum(axis=0) for g in range(self.n_groups)])

    def _means_of_groups(self) -> np.ndarray:
        w, m, g = (np.array(values) for values in (self.weights, self.means, self.groups))
        return np.array([np.average(m[g == i], weights=w[g == i]) for i in range(self.n_groups)])

    def _cut_above(self, group: int) -> float:
        """Logarithm above which the groups after this one are more probable than those up to it."""
        means = self._means_of_groups()
        grid = np.linspace(means[group], means[group + 1], _GRID)
        parts = self.group_densities(grid)
        is_lower = parts[: group + 1].sum(axis=0) >= parts[group + 1 :].sum(axis=0)
        return float(grid[min(int(is_lower.sum()), _GRID - 1)])

    @property
    def best_cut(self) -> int:
        """Number of the cut between the groups that overlap least."""
        return int(np.argmin([self.overlap(i) for i in range(len(self.cuts))]))

    def overlap(self, cut: int) -> float:
        """Common area of the densities below and above a cut, both of area 1: 0 if separate, 1 if the same."""
        low, high = self.means[0] - 5 * max(self.sds), self.means[-1] + 5 * max(self.sds)
        grid = np.linspace(low, high, _GRID)
        below, above = self._sides(grid, cut)
        step = grid[1] - grid[0]
        return float(np.minimum(below / below.sum(), above / above.sum()).sum()) if step > 0 else 1.0

    def in_doubt(self, logs: np.ndarray, cut: int) -> float:
        """Share of the cells of which the side of the cut has a probability below 0.9."""
        below, above = self._sides(logs, cut)
        return float((np.maximum(below, above) < _SURE * (below + above)).mean())

    def _sides(self, logs: np.ndarray, cut: int) -> tuple[np.ndarray, np.ndarray]:
        parts = self.group_densities(logs)
        return parts[: cut + 1].sum(axis=0), parts[cut + 1 :].sum(axis=0)


def _best_fit(sample: np.ndarray, k: int) -> "GaussianMixture":
    """The most likely fit of those that start from quantiles of all values, and with one Gaussian in the upper tail."""
    from sklearn.mixture import GaussianMixture

    shares = (np.arange(k) + 0.5) / k
    starts = [shares] + [np.append((np.arange(k - 1) + 0.5) / (k - 1), _TAIL)] * (k > 1)
    fits = [
        GaussianMixture(
            k,
            means_init=np.quantile(sample, start)[:, None],
            reg_covar=_MIN_VARIANCE,
            tol=1e-5,
            max_iter=500,
            random_state=0,
        ).fit(sample[:, None])
        for start in starts
    ]
    return max(fits, key=lambda fit: fit.lower_bound_)


def _valleys(density: np.ndarray) -> list[int]:
    """Indices of the lowest points between neighbouring peaks, without those that are hardly lower than a peak."""
    peaks = [i for i in range(1, len(density) - 1) if density[i - 1] < density[i] >= density[i + 1]]
    kept: list[int] = []
    last = peaks[:1]
    for peak in peaks[1:]:
        valley = last[0] + int(np.argmin(density[last[0] : peak + 1]))
        if density[valley] < _VALLEY * min(density[last[0]], density[peak]):
            kept.append(valley)
            last = [peak]
        elif density[peak] > density[last[0]]:
            last = [peak]
    return kept
