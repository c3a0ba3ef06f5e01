"""Dense diagnostics against closed forms, published formulas and references computed by other routes, to 1e-6."""

from functools import cache

import numpy as np
import pytest
import scipy.linalg
from scipy.integrate import solve_ivp
from scipy.optimize import minimize, minimize_scalar

from analogep import diagnostics as dx
from analogep.diagnostics import pseudospectra as pseudospectra_module
from analogep.errors import ConvergenceError, DataError

TIGHT = 1e-6


def jordan(n, a=-1.0, coupling=1.0):
    return a * np.eye(n) + coupling * np.eye(n, k=1)


def grcar(n, shift=0.0):
    return -np.eye(n, k=-1) + sum(np.eye(n, k=k) for k in range(4)) - shift * np.eye(n)


def toeplitz(n, below, middle, above):
    return below * np.eye(n, k=-1) + middle * np.eye(n) + above * np.eye(n, k=1)


def convection(n, length):
    """u'' + u' with u = 0 at both ends of [0, length], central differences."""
    h = length / (n + 1)
    return toeplitz(n, 1 / h**2 - 0.5 / h, -2 / h**2, 1 / h**2 + 0.5 / h)


def chebyshev_convection(n, length):
    """u'' + u' by Chebyshev collocation, and the weights of its quadrature: spectrally exact for smooth functions."""
    k = np.arange(n + 1)
    x = np.cos(np.pi * k / n)
    c = np.where((k == 0) | (k == n), 2.0, 1.0) * (-1.0) ** k
    D = np.outer(c, 1 / c) / (x[:, None] - x[None, :] + np.eye(n + 1))
    D -= np.diag(D.sum(axis=1))
    D *= 2 / length
    return (D @ D + D)[1:-1, 1:-1]


MATRICES = {
    "jordan 6": jordan(6, -0.4),
    "jordan 20": jordan(20, -0.7),
    "grcar 24": grcar(24, 2.3),
    "toeplitz 15": toeplitz(15, 0.2, -1.2, 1.5),
    "convection 20": convection(20, 12.0),
    "two by two": np.array([[-1.0, 20.0], [0.0, -1.0]]),
}


def norm_of_resolvent(J, z):
    """Through the explicit inverse, the other way round than singular values of z I - J."""
    return np.linalg.norm(np.linalg.inv(z * np.eye(len(J)) - J), 2)


# ---- departure from normality ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MATRICES)
def test_henrici_departure_is_what_the_eigenvalues_leave_of_the_norm(name):
    J = MATRICES[name]
    found = dx.henrici_departure(J)
    if "grcar" in name:  # eigenvalues are well conditioned enough up to n = 32
        squares = np.sum(np.abs(np.linalg.eigvals(J)) ** 2)
    else:  # closed forms: one eigenvalue, or those of a tridiagonal Toeplitz matrix
        a, b, c = J[0, 0], J[1, 0], J[0, 1]
        k = np.arange(1, len(J) + 1)
        squares = np.sum(np.abs(a + 2 * np.sqrt(b * c + 0j) * np.cos(np.pi * k / (len(J) + 1))) ** 2)
    assert found == pytest.approx(np.sqrt(np.sum(J**2) - squares), rel=TIGHT)
    lower, upper = dx.departure_bounds(J)
    assert lower <= found * (1 + 1e-12)
    assert found <= upper * (1 + 1e-12)


def test_departure_of_normal_matrices_is_zero_and_its_bounds_are_sharp_for_two_states():
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.standard_normal((7, 7)))[0]
    for normal in (q, q + q.T, q - q.T, q @ np.diag(rng.standard_normal(7)) @ q.T):
        assert dx.henrici_departure(normal) < 1e-13
        assert max(dx.departure_bounds(normal)) < 1e-6  # a fourth root of rounding
    assert dx.departure_bounds(jordan(2, 0.0, 3.0)) == pytest.approx((3.0, 3.0), rel=1e-12)
    assert dx.departure_bounds(np.zeros((2, 2))) == (0.0, 0.0)


# ---- resolvent and pseudospectra -------------------------------------------------------------------------------------


def test_resolvent_of_a_jordan_block_has_known_entries():
    """(z - J)^-1 is upper triangular and Toeplitz with entries (z - a)^-(k+1) on diagonal k."""
    n, a = 12, -0.5
    z = np.array([[0.3, 0.2 + 0.9j], [-0.5 + 0.8j, 1.7]])
    for index in np.ndindex(2, 2):
        resolvent = sum(np.eye(n, k=k) * (z[index] - a) ** -(k + 1.0) for k in range(n))
        assert dx.smallest_singular(jordan(n, a), z)[index] == pytest.approx(1 / np.linalg.norm(resolvent, 2), rel=1e-9)


@pytest.mark.parametrize("n", [20, 60])
def test_both_ways_to_a_grid_agree_with_the_explicit_inverse(n, monkeypatch):
    J = grcar(n, 1.0)
    found = dx.pseudospectrum(J, np.linspace(-3, 3, 5), np.linspace(-4, 4, 8))
    exact = [[1 / norm_of_resolvent(J, x + 1j * y) for x in found.real] for y in found.imag]
    seen = np.array(exact) > 1e-9  # below, the inverse is rounding
    assert seen.sum() > 20
    np.testing.assert_allclose(found.smallest[seen], np.array(exact)[seen], rtol=TIGHT)
    monkeypatch.setattr(pseudospectra_module, "DENSE_GRID", 0 if n == 20 else 1000)
    other = dx.smallest_singular(J, found.real + 1j * found.imag[:, None])
    np.testing.assert_allclose(found.smallest[seen], other[seen], rtol=TIGHT)
    np.testing.assert_allclose(found.smallest, found.smallest[::-1], rtol=1e-12)


def test_a_point_of_the_spectrum_has_no_resolvent_and_the_grid_shows_what_matters():
    J = np.triu(np.random.default_rng(1).standard_normal((60, 60))) - 8 * np.eye(60)
    assert dx.smallest_singular(J, J[3, 3]) == 0.0
    found = dx.pseudospectrum(jordan(5), points=11)
    assert found.real[0] < -1
    assert found.real[-1] > dx.numerical_abscissa(jordan(5))
    assert found.smallest.shape == (11, 11)
    with pytest.raises(DataError, match="finite matrix"):
        dx.pseudospectrum(np.full((2, 2), np.nan))


def test_pseudospectral_abscissa_of_two_states_and_of_normal_matrices():
    """J = [[-1, b], [0, -1]]: rightmost on the real axis, sigma_min = (sqrt(b^2 + 4 s^2) - b) / 2 with s = x + 1."""
    b = 20.0
    for epsilon in (1e-4, 0.1, 3.0):
        exact = np.sqrt(epsilon**2 + b * epsilon) - 1
        assert dx.pseudospectral_abscissa(MATRICES["two by two"], epsilon) == pytest.approx(exact, rel=1e-9)
    rotation = np.array([[-0.3, 4.0], [-4.0, -0.3]])
    assert dx.pseudospectral_abscissa(rotation, 0.7) == pytest.approx(0.4, rel=1e-12)
    with pytest.raises(DataError, match="positive"):
        dx.pseudospectral_abscissa(rotation, 0.0)


@pytest.mark.parametrize("name", ["jordan 6", "grcar 24", "toeplitz 15"])
def test_pseudospectral_abscissa_is_the_rightmost_point_of_a_level_line(name):
    """Against the boundary followed in polar form from the numerical range inwards."""
    J, epsilon = MATRICES[name], 0.05
    found = dx.pseudospectral_abscissa(J, epsilon)

    def rightmost(y):
        low, high = -5.0, 5.0  # the last crossing on a horizontal line, by a fine scan and bisection
        xs = np.linspace(low, high, 400)
        inside = dx.smallest_singular(J, xs + 1j * y) < epsilon
        if not inside.any():
            return low
        low, high = xs[np.flatnonzero(inside)[-1]], xs[np.flatnonzero(inside)[-1] + 1]
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if norm_of_resolvent(J, middle + 1j * y) > 1 / epsilon else (low, middle)
        return low

    heights = np.linspace(0, 4, 41)
    reached = [rightmost(y) for y in heights]
    top = heights[int(np.argmax(reached))]
    best = -minimize_scalar(lambda y: -rightmost(y), bounds=(top - 0.1, top + 0.1), method="bounded").fun
    assert found == pytest.approx(max(best, *reached), abs=TIGHT)


def test_the_peak_on_a_line_is_found_far_from_the_rightmost_eigenvalues():
    """Four slow real states hide a turning pair of coupled ones: ||(i y - J)^-1|| is that of two states at y = 5."""
    turning = np.kron(np.eye(2), [[0.0, 5.0], [-5.0, 0.0]]) + np.kron(MATRICES["two by two"], np.eye(2))
    J = scipy.linalg.block_diag(np.diag([-0.5, -0.6, -0.7, -0.8]), turning)
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((8, 8)))[0]
    found = dx.resolvent_peak(rotation @ J @ rotation.T, 0.0)
    assert found.height == pytest.approx(5.0, abs=1e-4)
    assert found.norm == pytest.approx(10 + np.sqrt(101), rel=1e-9)
    assert dx.kreiss_constant(J).constant == pytest.approx(5.05, rel=1e-7)


def test_stability_radius_is_the_inverse_of_the_largest_resolvent_on_the_axis():
    for name in ("grcar 24", "convection 20", "two by two"):
        J = MATRICES[name]
        if np.max(np.linalg.eigvals(J).real) > 0:
            continue
        y = np.linspace(0, 5, 4001)
        fine = max(norm_of_resolvent(J, 1j * height) for height in y[::20])
        near = y[::20][int(np.argmax([norm_of_resolvent(J, 1j * height) for height in y[::20]]))]
        polished = -minimize_scalar(
            lambda h, J=J: -norm_of_resolvent(J, 1j * h), bounds=(max(near - 0.1, 0), near + 0.1), method="bounded",
            options={"xatol": 1e-10},
        ).fun  # fmt: skip
        assert dx.stability_radius(J) == pytest.approx(1 / max(fine, polished), rel=TIGHT)
    assert dx.stability_radius(np.diag([0.1, -1.0])) == 0.0


# ---- Kreiss constant, growth -----------------------------------------------------------------------------------------


@cache
def kreiss(name):
    return dx.kreiss_constant(MATRICES[name])


@pytest.mark.parametrize("b", [3.0, 20.0, 400.0])
def test_kreiss_constant_of_two_states_has_a_closed_form(b):
    """For J = [[-1, b], [0, -1]], b > 2: x (q + sqrt(1 + q^2)) / (1 + x), q = b / (2 + 2 x), is at most b/4 + 1/b."""
    found = dx.kreiss_constant(np.array([[-1.0, b], [0.0, -1.0]]))
    assert found.constant == pytest.approx(b / 4 + 1 / b, rel=1e-7)
    assert found.constant <= (b / 4 + 1 / b) * (1 + 1e-12)
    assert found.upper >= b / 4 + 1 / b
    assert found.converged
    assert found.point.real == pytest.approx((b**2 + 4) / (b**2 - 4), rel=1e-2)


@pytest.mark.parametrize("name", ["jordan 6", "grcar 24", "toeplitz 15"])
def test_kreiss_constant_is_the_global_maximum(name):
    """Against a grid over the half-plane, refined by simplex search from its best points."""
    J = MATRICES[name]
    x, y = np.geomspace(1e-3, 30, 40), np.linspace(0, 6, 40)
    values = x[None, :] / dx.smallest_singular(J, x[None, :] + 1j * y[:, None])
    best = 1.0
    for flat in np.argsort(-values.ravel())[:4]:
        i, j = np.unravel_index(flat, values.shape)
        found = minimize(
            lambda p: -np.exp(p[0]) * norm_of_resolvent(J, np.exp(p[0]) + 1j * p[1]), [np.log(x[j]), y[i]],
            method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13},
        )  # fmt: skip
        best = max(best, -found.fun)
    assert kreiss(name).constant == pytest.approx(best, rel=TIGHT)
    assert kreiss(name).converged
    point = kreiss(name).point
    assert point.real * norm_of_resolvent(J, point) == pytest.approx(kreiss(name).constant, rel=1e-9)


@pytest.mark.parametrize("name", MATRICES)
def test_kreiss_matrix_theorem_and_the_peak(name):
    """K <= sup ||exp(t J)|| <= e n K (Kreiss; LeVeque and Trefethen 1984, Spijker 1991), with the peak integrated."""
    J = MATRICES[name]
    if np.max(np.linalg.eigvals(J).real) > 0:
        pytest.skip("unstable")
    n, peak = len(J), dx.growth_peak(J)
    step = peak.time / 64 if peak.time else 0.05
    motion = solve_ivp(
        lambda _, E: (J @ E.reshape(n, n)).ravel(), (0, 128 * step), np.eye(n).ravel(), rtol=1e-10, atol=1e-12,
        t_eval=step * np.arange(129), method="DOP853",
    )  # fmt: skip
    norms = np.array([np.linalg.norm(E.reshape(n, n), 2) for E in motion.y.T])
    if peak.time:
        assert norms[64] == pytest.approx(peak.norm, rel=TIGHT)
        parabola = np.polyfit(motion.t[62:67] - peak.time, norms[62:67], 4)
        top = np.roots(np.polyder(parabola))
        assert np.min(np.abs(top)) < 1e-3 * peak.time  # where the integrated norm has its maximum
    assert np.max(norms) <= peak.norm * (1 + 1e-8)
    low, high = kreiss(name).growth_bounds(n)
    assert low <= peak.norm * (1 + 1e-9)
    assert peak.norm <= high


def test_kreiss_constants_that_need_no_search():
    assert dx.kreiss_constant(np.diag([-1.0, -2.0])).constant == 1.0
    assert dx.kreiss_constant(np.diag([0.1, -2.0]) + np.eye(2, k=1)).constant == np.inf
    assert dx.kreiss_constant(jordan(2, 0.0)).constant == np.inf  # grows like t
    ellipse = dx.kreiss_constant(np.array([[0.0, 2.0], [-0.5, 0.0]]))
    assert ellipse.constant == pytest.approx(1.25, rel=1e-5)  # norm of the spectral projector, reached at the axis
    assert not ellipse.converged


def test_growth_peak_and_its_time_of_two_states():
    """||exp(t J)|| = exp(-t) (b t + sqrt(b^2 t^2 + 4)) / 2: stationary where b / sqrt(b^2 t^2 + 4) = 1."""
    b = 20.0
    t = np.sqrt(1 - 4 / b**2)
    peak = dx.growth_peak(MATRICES["two by two"])
    assert peak.time == pytest.approx(t, rel=1e-5)
    assert peak.norm == pytest.approx(np.exp(-t) * (b * t + np.sqrt(b**2 * t**2 + 4)) / 2, rel=1e-10)
    assert dx.growth_peak(-np.eye(3)) == (1.0, 0.0)
    assert dx.growth_peak(jordan(2, 0.0)) == (np.inf, np.inf)


# ---- published formulas ----------------------------------------------------------------------------------------------


def test_convection_diffusion_eigenvalues_and_abscissas():
    """Reddy & Trefethen 1994: u'' + u' on [0, d] has eigenvalues -1/4 - (pi k / d)^2 and omega = -(pi / d)^2."""
    d = 6.0
    values = dx.eigenvalues(chebyshev_convection(32, d))[:5]
    np.testing.assert_allclose(values.real, [-0.25 - (np.pi * k / d) ** 2 for k in range(1, 6)], rtol=TIGHT)
    np.testing.assert_allclose(values.imag, 0, atol=1e-8)
    n = 400  # central differences: the symmetric part is that of u'' alone
    J = convection(n, d)
    h = d / (n + 1)
    assert dx.numerical_abscissa(J) == pytest.approx(-4 / h**2 * np.sin(np.pi / (2 * n + 2)) ** 2, rel=TIGHT)
    assert dx.numerical_abscissa(J) == pytest.approx(-((np.pi / d) ** 2), rel=1e-4)
    assert dx.growth_peak(convection(40, d)) == (1.0, 0.0)


@pytest.mark.parametrize(("below", "above"), [(0.5, 1.5), (0.05, 2.0)])
def test_toeplitz_spectra(below, above):
    """Trefethen & Embree 2005, section 3: a + 2 sqrt(b c) cos(k pi / (n + 1)), and the same of the symmetric part."""
    n, a = 12, -2.0
    J = toeplitz(n, below, a, above)
    angles = np.pi * np.arange(1, n + 1) / (n + 1)
    exact = a + 2 * np.sqrt(below * above) * np.cos(angles)
    np.testing.assert_allclose(dx.eigenvalues(J).real, exact, rtol=TIGHT)
    assert dx.numerical_abscissa(J) == pytest.approx(a + (below + above) * np.cos(angles[0]), rel=1e-12)


def test_small_perturbations_see_the_symbol_of_a_toeplitz_matrix():
    """Reichel & Trefethen 1992: inside the symbol's ellipse the resolvent grows exponentially with n."""
    norms = [1 / float(dx.smallest_singular(toeplitz(n, 0.5, 0.0, 1.5), 0.0 + 0.7j)) for n in (20, 40, 80)]
    rates = np.diff(np.log(norms)) / [20, 40]
    roots = np.abs(np.roots([1.5, -0.7j, 0.5]))  # of the symbol 0.5 / t + 1.5 t = 0.7 i
    assert rates == pytest.approx(np.full(2, -np.log(roots.max())), abs=2e-2)


@pytest.mark.parametrize("n", [32, 100])
def test_grcar(n):
    """Eigenvalues only where they can be had; beyond, omega, growth and resolvent norms."""
    J = grcar(n, 2.8)
    bands = np.zeros((4, n))
    bands[0], bands[2, :-2], bands[3, :-3] = 1 - 2.8, 0.5, 0.5
    assert dx.numerical_abscissa(J) == pytest.approx(scipy.linalg.eig_banded(bands, lower=True)[0][-1], rel=1e-10)
    if n <= 32:
        ours = dx.eigenvalues(J)
        theirs = scipy.linalg.eig(J.T, left=True, right=False)[0]  # the transpose has other rounding errors
        assert max(np.min(np.abs(value - theirs)) for value in ours) < TIGHT
    t = 2.0
    terms, total = np.eye(n), np.eye(n)
    for k in range(1, 90):  # the plain Taylor series of exp(t (J + 2.8)), whose terms are all that is needed
        terms = terms @ (grcar(n) * t) / k
        total = total + terms
    exact = np.linalg.norm(total, 2) * np.exp(-2.8 * t)
    assert dx.growth_curve(J, [t]).norms[0] == pytest.approx(exact, rel=TIGHT)
    z = 0.5 + 1.0j
    assert float(dx.smallest_singular(J, z)) == pytest.approx(1 / norm_of_resolvent(J, z), rel=TIGHT)


# ---- logarithmic norms -----------------------------------------------------------------------------------------------


def test_log_norm_is_the_slope_of_the_norm_in_its_metric():
    rng = np.random.default_rng(2)
    J, root = rng.standard_normal((6, 6)), rng.standard_normal((6, 6)) + 3 * np.eye(6)
    P = root.T @ root
    in_coordinates = root @ J @ np.linalg.inv(root)
    h = 1e-6
    slope = (np.linalg.norm(scipy.linalg.expm(h * in_coordinates), 2) - 1) / h
    assert dx.log_norm(J, P) == pytest.approx(slope, abs=1e-4)
    assert dx.log_norm(J, P) == pytest.approx(np.max(scipy.linalg.eigh((P @ J + J.T @ P) / 2, P)[0]), rel=1e-10)
    assert dx.log_norm(J, np.ones(6)) == dx.log_norm(J) == dx.numerical_abscissa(J)
    with pytest.raises(DataError, match="positive definite"):
        dx.log_norm(J, np.diag([1.0, -1, 1, 1, 1, 1]))
    with pytest.raises(DataError, match="symmetric"):
        dx.log_norm(J, root)


@pytest.mark.parametrize("name", ["jordan 6", "grcar 24", "two by two"])
def test_lyapunov_metrics_contract_as_fast_as_asked(name):
    J = MATRICES[name]
    alpha = np.max(np.linalg.eigvals(J).real) if "grcar" in name else J[0, 0]
    for gap in (0.2, 0.5, 5.0):
        metric = dx.lyapunov_metric(J, alpha + gap)
        residual = scipy.linalg.eigh(metric.P @ J + J.T @ metric.P, metric.P)[0][-1] / 2
        assert metric.mu == pytest.approx(residual, abs=1e-6 * np.linalg.norm(J, 2))
        assert alpha - 1e-6 <= metric.mu <= alpha + gap
        values = np.linalg.eigvalsh(metric.P)
        assert metric.condition == pytest.approx(values[-1] / values[0], rel=1e-4)
    with pytest.raises(DataError, match="spectral abscissa"):
        dx.lyapunov_metric(J, alpha - 0.1)
    with pytest.raises(ConvergenceError, match="too close"):
        dx.lyapunov_metric(MATRICES["jordan 20"], -0.69)


def test_the_best_metric_tends_to_the_spectral_abscissa_at_a_price():
    rng = np.random.default_rng(5)
    J = rng.standard_normal((8, 8)) - 4 * np.eye(8) + 6 * np.eye(8, k=1)
    alpha = np.max(np.linalg.eigvals(J).real)
    limits = (1.0, 10.0, 1e3, 1e6, 1e10)
    found = [dx.optimal_metric(J, condition=limit) for limit in limits]
    mus = [metric.mu for metric in found]
    assert np.all(np.diff(mus) <= 0)
    assert mus[0] == pytest.approx(dx.numerical_abscissa(J))
    assert mus[-1] == pytest.approx(alpha, abs=1e-4)  # eight different eigenvalues: diagonalizable
    for metric, limit in zip(found, limits, strict=True):
        assert alpha - 1e-9 <= metric.mu
        assert metric.condition <= limit * (1 + 1e-9)
        assert dx.log_norm(J, metric.P) == pytest.approx(metric.mu, abs=1e-7)
        if metric.mu <= 0:  # contraction in a metric bounds growth in the given one
            assert dx.peak_growth(J) <= np.sqrt(metric.condition)
    # the best of the family under a bound, by a scan with another solver of the Lyapunov equation
    scanned = []
    for beta in alpha + np.geomspace(1e-6, 1e3, 400):
        shifted, eye = J - beta * np.eye(8), np.eye(8)
        P = np.linalg.solve(np.kron(shifted.T, eye) + np.kron(eye, shifted.T), -eye.ravel()).reshape(8, 8)
        sizes = np.linalg.eigvalsh((P + P.T) / 2)
        scanned.append((sizes[-1] / sizes[0], beta - 1 / (2 * sizes[-1])))
    for metric, limit in zip(found[1:4], limits[1:4], strict=True):
        assert metric.mu <= min(mu for condition, mu in scanned if condition <= limit) + 1e-9
    defective = [dx.optimal_metric(jordan(6), condition=limit).mu for limit in (1e2, 1e6, 1e10)]
    assert np.all(np.array(defective) > -0.95)  # a Jordan block comes near only slowly
    normal = dx.optimal_metric(np.array([[-1.0, 5.0], [-5.0, -1.0]]))
    assert (normal.mu, normal.condition) == (pytest.approx(-1.0), 1.0)
    with pytest.raises(DataError, match="at least 1"):
        dx.optimal_metric(J, condition=0.5)


# ---- the network of DESIGN.md ----------------------------------------------------------------------------------------


RC = (5, 103)
"""A network that shows the numbers of the design: naively rho 1.02 and growth 1.23, in the metric 4e-17 and 1.000."""


def rc_network(n, seed):
    """G and C of a random passive reciprocal RC network with capacitors to ground."""
    rng = np.random.default_rng(seed)
    between = np.triu(rng.exponential(1.0, (n, n)) * (rng.random((n, n)) < 0.4), 1)
    between = between + between.T
    return np.diag(between.sum(axis=1) + rng.uniform(0.05, 0.5, n)) - between, 10.0 ** rng.uniform(-1.5, 1.5, n)


def test_a_reciprocal_network_is_normal_in_its_metric_only():
    G, C = rc_network(*RC)
    naive, Jc = -G / C[:, None], dx.in_metric(G, C)
    assert dx.rho_sinv_a(naive) == pytest.approx(1.02, abs=0.005)
    assert dx.peak_growth(naive) == pytest.approx(1.23, abs=0.005)
    assert dx.rho_sinv_a(Jc) < 1e-15
    assert dx.peak_growth(Jc) == 1.0
    assert dx.henrici_departure(Jc) < 1e-13 * np.linalg.norm(Jc)
    assert dx.henrici_departure(naive) > 0.1 * np.linalg.norm(naive)
    assert dx.kreiss_constant(Jc).constant == 1.0
    assert 1 < dx.kreiss_constant(naive).constant < dx.peak_growth(naive)
    # the C metric is the one that the optimum is compared with: mu_C(J) = alpha
    assert dx.log_norm(naive, C) == pytest.approx(np.max(np.linalg.eigvals(naive).real), rel=1e-9)
