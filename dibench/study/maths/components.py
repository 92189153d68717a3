"""What errors have in common: the variance of single rows, and of what rows of one group share.

Errors of log y are taken as a sum of independent parts: one for each row, one for each cluster of each
clustering (layer, network, family). Fitting hides some of every part, a whole network's most of all. So for
each clustering the sum over its clusters g of (Σ_{i∈g} u_i)²/n_g, u the residuals, is set equal to its
expectation, in which every part enters through I − H (Henderson's first method, Biometrics 1953; the
expectations as in Searle, Casella and McCulloch, "Variance Components", 1992, section 5.6). No part is below
zero. How well each variance is known follows for normal errors, and with it the degrees of freedom of any sum
of them (Satterthwaite, Biometrics Bulletin 1946).

Why not a library: statsmodels' MixedLM takes crossed groups only as one dense block of all rows, and gives no
degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.study.findings.fitted_model import Components
from dibench.study.maths.inference import Clustering, triangle_of

FloatArray = NDArray[np.float64]

ROW = "row"
MOST_CLUSTERS = 1_000
"""Of one clustering; of more, the rows of so many taken at random tell the variances as well."""

FEWEST_DEGREES = 2.0
"""Satterthwaite's approximation is far too wide below."""

MANY_DEGREES = 1e6
"""As good as without end."""

FEWEST_CLUSTERS = 3
"""Of two, a variance has a single degree of freedom, and says nothing."""

HIDDEN = 1e-6
"""A part of which fitting leaves less than this share cannot be seen in residuals."""


def components(
    jacobian: FloatArray, residuals: FloatArray, clusterings: Sequence[Clustering]
) -> Components | None:
    """The variances of the parts of errors; None without full rank.

    A clustering has a part of its own only if three clusters or more group what an earlier one keeps apart,
    and if the fit leaves something of it.

    Args:
        jacobian: J (n, k) of the fit.
        residuals: u (n,).
        clusterings: what rows may have in common, from fine to coarse.
    """
    r = triangle_of(jacobian)
    if r is None:
        return None
    inverse = np.linalg.inv(r)
    told = _told_apart(clusterings, len(residuals))
    spreads = [inverse @ inverse.T]
    for one in told:
        sums = one.sums(np.ones(len(residuals)), jacobian) @ inverse @ inverse.T
        spreads.append(sums.T @ sums)
    rows = _sample(told, len(residuals))
    members = [one.member for one in told]
    if not rows.all():
        jacobian, residuals = jacobian[rows], residuals[rows]
        members = [np.unique(one[rows], return_inverse=True)[1] for one in members]
    seen = _Seen.of(jacobian @ inverse, residuals, members)
    kept = np.concatenate([[True], seen.visible])
    variances, covariance = _solve(seen, np.flatnonzero(seen.visible))
    return Components(
        names=(ROW, *(one.name for one, keep in zip(told, seen.visible, strict=True) if keep)),
        variances=variances,
        covariance=covariance,
        spreads=np.array(spreads)[kept],
    )


def variance_of_sum(parts: Components, shares: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Σ share·variance and its degrees of freedom, both (…,), of sums that hold `shares` (…, m) of each part.

    >>> one = Components(("row",), np.array([4.0]), np.array([[3.2]]), np.zeros((1, 0, 0)))
    >>> variance_of_sum(one, np.array([[0.5]]))
    (array([2.]), array([10.]))
    """
    variance = np.asarray(shares @ parts.variances)
    square = np.einsum("...i,ij,...j->...", shares, parts.covariance, shares)
    degrees = np.divide(2 * variance**2, square, out=np.full(variance.shape, MANY_DEGREES), where=square > 0)
    return variance, np.clip(degrees, FEWEST_DEGREES, MANY_DEGREES)


def _told_apart(clusterings: Sequence[Clustering], rows: int) -> list[Clustering]:
    """Clusterings of which FEWEST_CLUSTERS clusters or more group rows, or clusters of the one before."""
    from scipy.sparse import csr_array

    told: list[Clustering] = []
    finer, size = np.arange(rows), rows
    for one in clusterings:
        # Stored once for each pair, so that a line has as many entries as members.
        pairs = csr_array((np.ones(rows), (one.member, finer)), shape=(one.size, size))
        pairs.sum_duplicates()
        if (np.diff(pairs.indptr) > 1).sum() >= FEWEST_CLUSTERS:
            told.append(one)
            finer, size = one.member, one.size
    return told


def _sample(clusterings: Sequence[Clustering], rows: int) -> NDArray[np.bool_]:
    """The rows of at most MOST_CLUSTERS of every clustering."""
    chosen = np.ones(rows, dtype=bool)
    for one in clusterings:
        if one.size > MOST_CLUSTERS:
            some = np.random.default_rng(0).choice(one.size, MOST_CLUSTERS, replace=False)
            chosen &= np.isin(one.member, some)
    return chosen


@attrs.frozen(eq=False)
class _Seen:
    """What residuals u = Mε, M = I − H, show of the parts; clusters of all clusterings side by side."""

    rows: int
    trace: float
    """Of M."""
    square: float
    """Σ u²."""
    sums: FloatArray
    """Σu of each cluster (G,)."""
    sizes: FloatArray
    """Rows of each cluster (G,)."""
    overlap: FloatArray
    """K = Z′MZ (G, G), Z the clusters' indicators."""
    begins: NDArray[np.intp]
    """Where each clustering begins among the clusters."""

    @classmethod
    def of(cls, q: FloatArray, residuals: FloatArray, members: list[NDArray[np.intp]]) -> _Seen:
        """From Q (n, k) of J = QR, residuals (n,) and the cluster of each row by each clustering, from 0."""
        from scipy.sparse import csr_array, hstack

        n = len(residuals)
        begins = np.cumsum([0, *(int(one.max()) + 1 for one in members)])
        if not members:
            nothing = np.zeros(0)
            left = n - float((q**2).sum())
            return cls(n, left, float(residuals @ residuals), nothing, nothing, np.zeros((0, 0)), begins)
        z = hstack([csr_array((np.ones(n), (np.arange(n), one))) for one in members], format="csr")
        zq = z.T @ q
        return cls(
            rows=n,
            trace=n - float((q**2).sum()),
            square=float(residuals @ residuals),
            sums=np.asarray(z.T @ residuals),
            sizes=np.asarray(z.sum(axis=0)).ravel(),
            overlap=(z.T @ z).toarray() - zq @ zq.T,
            begins=begins,
        )

    @property
    def visible(self) -> NDArray[np.bool_]:
        """Whether residuals hold anything of each clustering's part."""
        own = np.diagonal(self.overlap)
        left = [own[a:b].sum() / self.sizes[a:b].sum() for a, b in self._bounds]
        return np.array(left) > HIDDEN

    @property
    def _bounds(self) -> list[tuple[int, int]]:
        return list(zip(self.begins[:-1].tolist(), self.begins[1:].tolist(), strict=True))

    def only(self, kept: NDArray[np.intp]) -> _Seen:
        """With these clusterings only."""
        bounds = [self._bounds[one] for one in kept]
        at = np.concatenate([np.arange(0), *(np.arange(a, b) for a, b in bounds)]).astype(np.intp)
        begins = np.cumsum([0, *(b - a for a, b in bounds)])
        overlap = self.overlap[np.ix_(at, at)]
        return attrs.evolve(self, sums=self.sums[at], sizes=self.sizes[at], overlap=overlap, begins=begins)

    def by_part(self, values: FloatArray, *, axis: int = 0) -> FloatArray:
        """Sums over the clusters of each clustering."""
        return np.add.reduceat(values, self.begins[:-1], axis=axis) if len(values) else values


def _solve(seen: _Seen, kept: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
    """The variances (m,) of rows and of the clusterings kept, and their covariance (m, m)."""
    from scipy.optimize import nnls

    seen = seen.only(kept)
    K, n = seen.overlap, seen.sizes
    own = np.diagonal(K)
    found = np.concatenate([[seen.square], seen.by_part(seen.sums**2 / n)])
    m = len(found)
    # Expectation of each sum of squares by each variance.
    expected = np.empty((m, m))
    expected[0, 0], expected[0, 1:], expected[1:, 0] = seen.trace, seen.by_part(own), seen.by_part(own / n)
    expected[1:, 1:] = seen.by_part(seen.by_part(K**2 / n[:, None]), axis=1)
    # Each equation by its standard error for independent errors.
    alone = seen.by_part(seen.by_part(K**2 / np.outer(n, n)), axis=1)
    scale = 1 / np.sqrt(np.concatenate([[seen.trace], np.diagonal(alone)]))
    variances = nnls(expected * scale[:, None], found * scale)[0]
    inverse = np.linalg.pinv(expected * scale[:, None]) * scale
    return variances, inverse @ _covariance(seen, variances) @ inverse.T


def _covariance(seen: _Seen, variances: FloatArray) -> FloatArray:
    """Of the sums of squares, for normal errors: 2·tr(A·V·B·V) of u′Au and u′Bu."""
    K, n, row = seen.overlap, seen.sizes, float(variances[0])
    of_cluster = np.repeat(variances[1:], np.diff(seen.begins))
    weighed = K * of_cluster
    X = row * K + weighed @ K  # Z′MVMZ
    found = np.empty((len(variances), len(variances)))
    squares = row**2 * seen.trace + 2 * row * np.trace(weighed) + float((weighed * weighed.T).sum())
    crossed = row * np.diagonal(X) + ((X * of_cluster) * K).sum(axis=1)
    found[0, 0], found[0, 1:] = squares, seen.by_part(crossed / n)
    found[1:, 0] = found[0, 1:]
    found[1:, 1:] = seen.by_part(seen.by_part(X**2 / np.outer(n, n)), axis=1)
    return 2 * found
