"""Figures of the diagnostics: labels with units, what is marked, and what cannot be drawn is refused."""

import numpy as np
import pytest
import xarray as xr

from analogep.errors import DataError
from analogep.plot import exponents, power, pseudospectra, response

pytestmark = pytest.mark.filterwarnings("error")

X, Y = np.linspace(-3, 1, 30), np.linspace(-2, 2, 31)
SIGMA = np.abs(X[None, :] + 1 + 1j * Y[:, None])  # of the one state -1
T = np.geomspace(0.01, 10, 50)
NORMS = np.exp(-T) * (10 * T + np.sqrt(100 * T**2 + 1))  # of [[-1, 20], [0, -1]]


def drawn(ax):
    ax.get_figure(root=True).canvas.draw()
    return ax


def entries(ax):
    legend = ax.get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


def title(ax):
    return ax.get_title(loc="left")


def texts(ax):
    return " ".join(text.get_text() for text in ax.texts)


def test_pseudospectra_show_levels_eigenvalues_and_both_abscissas():
    ax = drawn(pseudospectra.pseudospectra(X, Y, SIGMA, [-1.0], omega=-1.0, levels=[0.5, 1.0]))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("real part (1/τ)", "imaginary part (1/τ)")
    assert entries(ax) == ["ε = 0.5", "ε = 1", "eigenvalues", "ω = -1"]
    contour = ax.collections[0]
    for path, level in zip(contour.get_paths(), (0.5, 1.0), strict=True):  # circles around the eigenvalue
        np.testing.assert_allclose(np.hypot(path.vertices[:, 0] + 1, path.vertices[:, 1]), level, rtol=0.02)
    hole = SIGMA.copy()
    hole[3, 4] = np.nan
    assert "1 of 930 points" in texts(drawn(pseudospectra.pseudospectra(X, Y, hole)))
    steep = drawn(pseudospectra.pseudospectra(X, Y, SIGMA**6))
    assert any("e−" in label for label in entries(steep))


def test_growth_lies_between_its_bounds():
    ax = drawn(pseudospectra.growth_bounds(T, NORMS, kreiss=5.05, states=2, alpha=-1.0, omega=9.0))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (τ)", "norm in the C metric (1)")
    assert entries(ax) == [
        "‖exp(tJ)‖", "exp(ωt), ω = 9/τ", "exp(αt), α = −1/τ", "Kreiss constant K = 5.05", "e n K = 27.45",
    ]  # fmt: skip
    assert "peak 7.3" in title(ax)
    low, high = ax.get_ylim()
    assert low < 1 < NORMS.max() < 27.45 < high
    quiet = drawn(pseudospectra.growth_bounds([1.0], [0.5], kreiss=np.inf))
    assert title(quiet) == "Growth and its bounds"
    assert entries(quiet) == ["‖exp(tJ)‖"]
    assert "1 of 2 samples" in texts(drawn(pseudospectra.growth_bounds([1.0, 2.0], [0.5, np.inf])))


def test_the_price_of_a_metric():
    ax = drawn(pseudospectra.metric_price([1e4, 1.0], [-0.1, 0.4], alpha=-0.5))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("condition of P (1)", "logarithmic norm (1/τ)")
    np.testing.assert_array_equal(ax.get_lines()[1].get_xdata(), [1.0, 1e4])  # in order of the price
    assert entries(ax) == ["smallest μ found", "α = −0.5"]


def test_lyapunov_exponents_with_their_errors():
    running = np.array([0.9, -14.5]) + 0.1 * np.random.default_rng(0).standard_normal((50, 2)) / T[:, None]
    ax = drawn(exponents.lyapunov(T, running, error=[0.01, 0.02], expected=[0.9056, -14.5723]))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("averaging time (τ)", "mean stretching rate (1/τ)")
    assert entries(ax)[0].endswith("± 0.01")
    assert entries(ax)[2:] == ["expected"]
    assert ax.get_xscale() == "log"
    running[3, 0] = np.inf
    assert "1 of 100 values" in texts(drawn(exponents.lyapunov(T, running)))


def along():
    time = np.linspace(0, 5e-9, 6)
    rate = {"units": "1/tau"}
    return xr.Dataset(
        {
            "spectral_abscissa": ("time", -time * 1e9, rate),
            "numerical_abscissa": ("time", 1 - time * 1e9, rate),
            "peak_growth": ("time", np.r_[np.inf, np.ones(5)], {"units": "1"}),
        },
        {"time": ("time", time, {"units": "s"})},
    )


def test_diagnostics_along_a_trajectory():
    ax = drawn(exponents.along(along()))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (ns)", "value (1/τ)")
    assert entries(ax) == ["spectral abscissa", "numerical abscissa"]
    growth = drawn(exponents.along(along(), ["peak_growth"]))
    assert growth.get_ylabel() == "value (1)"
    assert "1 values are not finite" in texts(growth)


def test_power_bars_are_sorted_scaled_and_summed():
    names = ["source", "r1", "r2", "r3", "idle"]
    ax = drawn(power.power_balance(names, [-6e-3, 3e-3, 2e-3, 1e-3, 0.0], count=2))
    assert ax.get_xlabel() == "power absorbed (mW)"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["source", "r1", "3 others"]
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], [-6, 3, 3])
    assert "closed to" in title(ax)
    open_ended = drawn(power.power_balance(["a", "b"], [-1.0, 0.5]))
    assert "closed to 0.7" in title(open_ended)
    assert "1 of 2 powers" in texts(drawn(power.power_balance(["a", "b"], [1.0, np.nan])))


def test_a_step_with_its_band_and_overshoot():
    t = np.linspace(0, 9e-9, 100)
    ax = drawn(
        response.step(t, 0.1 * (1 - np.exp(-t / 1e-9)), final=0.1, settling_time=3.9e-9, overshoot=0.2, peak_time=2e-9)
    )
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (ns)", "signal (mV)")
    assert entries(ax) == ["±2 % of the change", "settled", "overshoot"]
    assert title(ax) == "Step response: settles in 3.9 ns, overshoots by 20 %"
    marker = next(line for line in ax.get_lines() if line.get_marker() == "o")
    assert (marker.get_xdata()[0], marker.get_ydata()[0]) == pytest.approx((2.0, 120.0))
    never = drawn(response.step([0.0, 1.0], [0.0, np.nan], final=1.0))
    assert title(never) == "Step response: does not settle"
    assert "1 of 2 samples" in texts(never)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: pseudospectra.pseudospectra(X, Y, SIGMA.T),
        lambda: pseudospectra.pseudospectra(X, Y, 0 * SIGMA),
        lambda: pseudospectra.growth_bounds([1.0, 2.0], [1.0]),
        lambda: pseudospectra.growth_bounds([0.0], [1.0]),
        lambda: pseudospectra.metric_price([1.0], []),
        lambda: pseudospectra.metric_price([0.5], [1.0]),
        lambda: exponents.lyapunov([1.0, 2.0], [[1.0]]),
        lambda: exponents.along(along().isel(time=0)),
        lambda: exponents.along(along(), ["warmth"]),
        lambda: exponents.along(along(), ["peak_growth", "spectral_abscissa"]),
        lambda: power.power_balance(["a"], [1.0, 2.0]),
        lambda: power.power_balance(["a"], [np.nan]),
        lambda: response.step([0.0], [0.0, 1.0], final=1.0),
        lambda: response.step([0.0, 1.0], [0.0, 1.0], final=np.nan),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw):
    with pytest.raises(DataError):
        draw()
