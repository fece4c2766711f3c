"""How a loss or an error rate falls as data grows: y(n) = a + b · n^(-c), and what more data would bring.

Inverse power laws of this form, later points counting more, are fitted as in Figueroa et al., 2012,
https://doi.org/10.1186/1472-6947-12-8. With five points and three unknowns no single curve can be trusted, so every curve on a grid of
(a, c) is weighed by how well it fits, and a forecast is what they say together: its interval grows where they part.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.data.seeded import generator

FEWEST_POINTS = 3

DECAYS = np.concatenate([np.linspace(0.02, 1.0, 50), np.linspace(1.05, 2.0, 20)])
"""Values of c that are tried. Learning curves of text lie between 0.05 and 1 (Hestness et al., 2017, https://arxiv.org/abs/1712.00409)."""

FLOORS = np.linspace(0.0, 1.0, 101)[:-1]
"""Values of a that are tried, as shares of the lowest point measured."""

PRIOR_ROWS = 4.0
"""How many points' worth of trust the assumed noise gets against the noise seen."""

DRAWS = 4000


@dataclass(frozen=True)
class Point:
    """A measurement: `size` rows learned from, `value` the loss or the error rate, `noise` its standard deviation."""

    size: int
    value: float
    noise: float


@dataclass(frozen=True)
class Forecast:
    """At `size` rows: the value in the middle, and where 95 % of what is to be expected lies."""

    size: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """`floor`, `scale`, `decay`: a, b and c of the curve that fits best. All others, with their weights, make the forecasts."""

    floor: float
    scale: float
    decay: float
    points: tuple[Point, ...]
    _curves: np.ndarray
    """(G, 3): a, b at the largest size measured, c."""
    _weights: np.ndarray
    """(G,), adding up to 1."""
    _noise: np.ndarray
    """(G,): standard deviation of a measurement, as the curve's misfit says."""

    def at(self, size: float) -> float:
        """The best curve's value."""
        return float(self.floor + self.scale * size ** (-self.decay))

    def forecast(self, size: int, highest: float = np.inf) -> Forecast:
        """What a measurement at `size` rows would show. `highest`: the largest value there can be, 1 for an error rate."""
        random = generator(0, "learning curve")
        drawn = random.choice(len(self._weights), DRAWS, p=self._weights)
        floor, scale, decay = self._curves[drawn].T
        curve = floor + scale * (size / self.points[-1].size) ** (-decay)
        seen = np.clip(curve + self._noise[drawn] * random.standard_normal(DRAWS), 0.0, highest)
        low, high = np.quantile(seen, [0.025, 0.975])
        return Forecast(size, float(np.clip(np.median(curve), 0.0, highest)), float(low), float(high))


def fit(points: Sequence[Point]) -> LearningCurve:
    """The curves through measurements at three or more sizes.

    Curve j with misfit χ²_j weighs (ν + χ²_j)^(-(ν + N)/2): as likely as normal noise of unknown size makes it, of which ν = 4 points'
    worth is known beforehand. χ² = Σ (n_i / n_N) ((y_i - y(n_i)) / noise_i)².
    """
    ordered = tuple(sorted(points, key=lambda p: p.size))
    assert len({p.size for p in ordered}) >= FEWEST_POINTS
    sizes, values, noises = (
        np.array(column, dtype=np.float64) for column in zip(*((p.size, p.value, p.noise) for p in ordered), strict=True)
    )
    weights = sizes / sizes[-1] / noises**2  # (N,)
    floors, decays = (grid.ravel() for grid in np.meshgrid(FLOORS * values.min(), DECAYS, indexing="ij"))  # (G,)
    basis = (sizes / sizes[-1]) ** (-decays[:, None])  # (G, N)
    above = values - floors[:, None]
    scales = np.maximum((weights * basis * above).sum(1) / (weights * basis**2).sum(1), 0.0)
    misfit = (weights * (above - scales[:, None] * basis) ** 2).sum(1)
    likelihood = -(PRIOR_ROWS + len(ordered)) / 2 * np.log(PRIOR_ROWS + misfit)
    share = np.exp(likelihood - likelihood.max())
    best = int(misfit.argmin())
    curves = np.stack([floors, scales, decays], 1)
    noise = noises[-1] * np.sqrt((PRIOR_ROWS + misfit) / (PRIOR_ROWS + len(ordered)))
    scale = float(scales[best] * sizes[-1] ** decays[best])
    return LearningCurve(float(floors[best]), scale, float(decays[best]), ordered, curves, share / share.sum(), noise)


def noise_of_share(share: float, rows: int) -> float:
    """Standard deviation of a share measured on so many rows; never quite 0, with one more row of each kind (Agresti & Coull's idea)."""
    smooth = (share * rows + 1) / (rows + 2)
    return float(np.sqrt(smooth * (1 - smooth) / rows))
