"""The error budget: shares against closed forms of small games, and a learning step's imperfections one by one."""

import json
from functools import cache

import jax
import numpy as np
import pytest
from small_blocks import block, one, phases

from analogep.codesign.budget import error_budget
from analogep.codesign.hardware import Hardware
from analogep.codesign.learning_step import LearningStep
from analogep.errors import SpecError
from analogep.netlist.wires import Wires
from analogep.plot.budget import budget as bars
from analogep.plot.budget import save
from analogep.technology import preset

pytestmark = pytest.mark.usefixtures("quick_compilation")

NAMES = ("a", "b", "c", "d")
WEIGHTS = np.array([1.0, 2.0, -0.5, 4.0])


def additive(on, chip):
    return {"angle": 3.0 + on @ WEIGHTS + chip}


def crossed(on, chip):
    """a and b cost something only together, and more on later chips."""
    return {"angle": on[:, 0] * on[:, 1] * (1.0 + chip) + 0.0 * on.sum(1)}


def test_shares_of_an_additive_game_are_what_each_costs_alone():
    found = error_budget(NAMES, additive, chips=3)["angle"]
    np.testing.assert_allclose(found.share, WEIGHTS, atol=1e-14)
    np.testing.assert_allclose(found.alone, WEIGHTS, atol=1e-14)
    np.testing.assert_allclose(found.error, 0.0, atol=1e-14)
    assert found.none == 4.0  # chips 0, 1, 2
    assert found.total == pytest.approx(WEIGHTS.sum())


def test_partners_share_alike_and_bystanders_get_nothing():
    """Shapley value of a product: half each. An order and its reverse have one partner last each, so it is exact."""
    found = error_budget(NAMES, crossed, chips=5)["angle"]
    np.testing.assert_allclose(found.share, [1.5, 1.5, 0.0, 0.0], atol=1e-14)
    np.testing.assert_array_equal(found.alone, 0.0)
    # chips differ: 1 ... 5 is their cost, half of it a share
    assert found.error[0] == pytest.approx(np.std(np.arange(1, 6) / 2, ddof=1) / np.sqrt(5))


def test_shares_add_up_exactly_and_come_near_the_exact_value():
    table = np.random.default_rng(1).normal(size=16)

    def any_game(on, chip):
        return {"angle": table[on @ (1 << np.arange(4))]}

    exact = np.zeros(4)
    for k in range(4):
        for other in range(16):
            if not other >> k & 1:
                size = bin(other).count("1")
                weight = [1 / 4, 1 / 12, 1 / 12, 1 / 4][size]
                exact[k] += weight * (table[other | 1 << k] - table[other])
    found = error_budget(NAMES, any_game, chips=60)["angle"]
    assert found.share.sum() == pytest.approx(found.total, abs=1e-13)
    assert found.total == pytest.approx(table[15] - table[0])
    assert np.all(np.abs(found.share - exact) < 5 * found.error + 1e-12)


def test_chips_without_a_value_are_left_out_and_counted():
    def broken(on, chip):
        return {"angle": np.where((chip == 1) & on[:, 2], np.nan, on @ WEIGHTS)}

    found = error_budget(NAMES, broken, chips=4)["angle"]
    assert (found.chips, found.lost) == (3, 1)
    assert found.unsettling == ("c",)
    gone = error_budget(NAMES, lambda on, chip: {"x": np.where((chip > 0) & on[:, 2], np.nan, 0.0)}, chips=4)["x"]
    assert (gone.chips, gone.lost) == (1, 3)
    assert np.isnan(gone.total)


@pytest.mark.parametrize(("names", "chips"), [(NAMES, 1), ((), 4)])
def test_a_budget_needs_effects_and_chips(names, chips):
    with pytest.raises(SpecError, match="give an effect and 2 chips or more"):
        error_budget(names, additive, chips=chips)


@cache
def step(horizon=8.0, **changes):
    _, weights, batch = block("free")
    device = preset("reram").at(stuck=0.1, levels=64)
    hardware = Hardware(**({"device": device, "repeats": 4, "beta": 0.5} | changes))
    return LearningStep(phases("free"), weights, one(batch, 0), hardware=hardware, horizon=horizon)


@cache
def cases():
    """Without anything, with each alone, and with all, on one chip."""
    at = step()
    n = len(at.names)
    on = np.concatenate([np.zeros((1, n), bool), np.eye(n, dtype=bool), np.ones((1, n), bool)])
    found = at.evaluate(on, jax.random.split(jax.random.key(2), 1)[np.zeros(n + 2, int)])
    return dict(zip(("none", *at.names, "all"), np.asarray(found.angle), strict=True)), dict(
        zip(("none", *at.names, "all"), np.asarray(found.loss), strict=True)
    )


def test_a_step_without_imperfections_is_exact():
    angle, _ = cases()
    assert abs(angle["none"]) < 1e-9


def test_what_is_wrong_when_written_costs_loss_and_no_cosine():
    """Learning in place follows the conductances as they are."""
    angle, loss = cases()
    for name in ("quantization", "programming", "stuck cells"):
        assert abs(angle[name]) < 1e-9
        assert abs(loss[name] - loss["none"]) > 1e-4


def test_what_is_wrong_when_measured_costs_cosine_and_no_loss():
    angle, loss = cases()
    for name in ("adjoint mismatch", "nudge DAC", "amplifiers", "thermal noise", "ADC"):
        assert angle[name] > 1e-7
        assert loss[name] == loss["none"]
    assert angle["read noise"] > 1e-4
    assert angle["finite settling"] > 1e-9
    assert abs(loss["wires"] - loss["none"]) > 1e-7


@pytest.mark.slow
def test_thermal_noise_falls_with_beta_and_repeats():
    """1 - cosine is nearly sigma^2 n / (2 R |g|^2), and g is measured as beta g."""
    key = jax.random.split(jax.random.key(0), 8)
    angles = []
    for changes in ({}, {"repeats": 16, "beta": 1.0}):
        at = step(None, mismatch=0.0, wires=Wires(0, 0), **changes)
        on = np.tile(np.array([name == "thermal noise" for name in at.names]), (8, 1))
        angles.append(np.asarray(at.evaluate(on, key).angle).mean())
    assert angles[0] / angles[1] == pytest.approx(4.0 * 4.0, rel=0.35)


def test_a_step_needs_the_parasitic_level():
    _, weights, batch = block("free")
    with pytest.raises(SpecError, match=r"needs compile.level = 'parasitic', not 'ideal'"):
        LearningStep(phases("free", "ideal"), weights, batch, hardware=Hardware(), horizon=None)


def test_the_figure_shows_every_share(tmp_path):
    data = error_budget(NAMES, additive, chips=3)["angle"].to_dict()
    ax = bars(json.loads(json.dumps(data)))
    assert [bar.get_width() for bar in ax.patches] == pytest.approx(sorted(WEIGHTS))
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["c", "a", "b", "d"]
    save({"angle": data, "loss": data}, tmp_path / "budget.png")
    assert (tmp_path / "budget.png").stat().st_size > 10_000
