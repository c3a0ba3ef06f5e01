"""Designs and derivatives against circuits compiled anew, noise by Monte Carlo, fronts and hypervolumes by hand."""

import json
from functools import cache
from pathlib import Path
from unittest.mock import patch

import jax
import numpy as np
import pytest
import xarray as xr
from small_blocks import block, one

from analogep.codesign import searches
from analogep.codesign.cost import costs
from analogep.codesign.descent import ENERGY, ERROR, BudgetSpent, Ceilings, solve, trace_front
from analogep.codesign.hardware import Hardware
from analogep.codesign.knobs import Knobs
from analogep.codesign.learning_step import LearningStep
from analogep.codesign.objective import OBJECTIVES, Designs, Evaluation
from analogep.codesign.operating import OperatingPoint
from analogep.codesign.pareto import compare, designs_of, hypervolume, nondominated, summary
from analogep.codesign.read_gradient import reading_variance
from analogep.codesign.searches import by_gradient
from analogep.compile import compile_transformer, to_weights
from analogep.compile.transformer import LOGITS
from analogep.errors import ConvergenceError, DataError, SpecError
from analogep.learning.nudge import rails
from analogep.learning.phases import CircuitPhases
from analogep.models.objective import cross_entropy
from analogep.plot import pareto as plots
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import settle
from analogep.spec import load_spec
from analogep.technology import preset
from analogep.technology.converters import Converter
from analogep.training.problem import build
from analogep.units import Scale

pytestmark = pytest.mark.usefixtures("quick_compilation")

SIZES = {"tokens": 2, "channels": 4, "ffn": 6}
ELSEWHERE = np.log([0.7, 1.5, 2.0, 1.1, 0.8])
"""A design apart from the block as it is, its conductances of cells other than those of arrays."""


@cache
def hardware(device="capacitor"):
    return Hardware(device=preset(device), repeats=4)


@cache
def designs(device="capacitor"):
    model, weights, batch = block("free", **SIZES)
    compiled = compile_transformer(model, weights, scale=Scale(0.1, 2e-6, 1e-14))
    phases = CircuitPhases(compiled)
    return Designs(phases, Knobs(compiled, hardware(device).device), one(batch, 0), hardware=hardware(device))


@cache
def evaluation(device="capacitor"):
    return designs(device).evaluate(designs(device).knobs.start + ELSEWHERE, gradient=True)


def anew(logs):
    """The design as a netlist of its own, settled: a point for `costs`; nothing of `Designs` is used."""
    knobs = designs().knobs
    compiled = knobs.built({name: float(value) for name, value in knobs.values(np.asarray(logs)).items()})
    circuit = Circuit(compiled.netlist, compiled.scale)
    x = {k: v[0] for k, v in rails(one(block("free", **SIZES)[2], 0), compiled.scale.volts).items()}
    rest = settle(circuit, x, circuit.theta).require("the design")
    voltages = {bus: np.asarray(v) for bus, v in circuit.voltages(rest.v, x, circuit.theta).items()}
    return OperatingPoint(compiled, circuit, x, circuit.theta, voltages, voltages)


@cache
def counted(knob=None, step=0.0):
    """Energy, settling time and loss of a design compiled anew, one knob stepped."""
    logs = designs().knobs.start + ELSEWHERE
    if knob is not None:
        logs[designs().knobs.names.index(knob)] += step
    point = anew(logs)
    found, volts = costs(point, hardware()), point.compiled.scale.volts
    x, logits = point.x, point.voltages[LOGITS] / volts
    loss = float(cross_entropy(logits, x["target"] / volts, x["weight"] / volts))
    return {"energy_per_token": found["energy_per_token"], "settling_time": found["settling_time"], "loss": loss}


def test_a_design_is_the_circuit_compiled_anew():
    found = evaluation().objectives
    for name, value in counted().items():
        # the settling time of `costs` lies straight between samples
        assert found[name] == pytest.approx(value, rel=1e-9 if name == "loss" else 3e-4)
    assert list(found) == list(OBJECTIVES)


@pytest.mark.parametrize(
    "knob",
    [
        "damping",
        pytest.param("cell_farads", marks=pytest.mark.slow),
        pytest.param("cell_siemens", marks=pytest.mark.slow),
    ],
)
def test_derivatives_are_those_of_circuits_compiled_anew(knob):
    h, k = 0.02, designs().knobs.names.index(knob)
    up, down = counted(knob, h), counted(knob, -h)
    for name in up:
        slope = evaluation().slope(name)[k] / evaluation().objectives[name]
        by_steps = (up[name] - down[name]) / (2 * h * counted()[name])
        assert slope == pytest.approx(by_steps, rel=0.02, abs=1e-6)
    if knob == "damping":  # what is tested here is not zero
        assert all(abs(evaluation().slope(name)[k] / evaluation().objectives[name]) > 0.01 for name in up)


def test_every_derivative_against_differences_of_values():
    """Values come from another program, which samples the transient anew; a wrong sign or a lost path would show."""
    at, found = designs().knobs.start + ELSEWHERE, evaluation()
    h = 1e-3
    for k, knob in enumerate(designs().knobs.names):
        step = h * np.eye(len(at))[k]
        up, down = (designs().evaluate(at + sign * step).objectives for sign in (1, -1))
        for name, value in found.objectives.items():
            by_steps = (up[name] - down[name]) / (2 * h * value)
            assert found.slope(name)[k] / value == pytest.approx(by_steps, rel=5e-3, abs=2e-5), (knob, name)


def test_laws_of_scale():
    """At rest nothing depends on capacitors or on g0 and the cells' conductance; times go as C / g."""
    found, names = evaluation(), designs().knobs.names
    elastic = {name: dict(zip(names, found.slope(name) / found.objectives[name], strict=True)) for name in OBJECTIVES}
    for knob in ("state_farads", "cell_farads", "siemens", "cell_siemens"):
        assert abs(elastic["loss"][knob]) < 1e-9
    time = elastic["settling_time"]
    assert time["state_farads"] + time["cell_farads"] == pytest.approx(1, abs=1e-3)
    assert time["siemens"] + time["cell_siemens"] == pytest.approx(-1, abs=1e-3)
    assert abs(elastic["cosine_error"]["siemens"]) < 1e-6
    # thermal noise and steps that it smears: 1 - cosine goes about as 1 / C
    of_noise = elastic["cosine_error"]["state_farads"] + elastic["cosine_error"]["cell_farads"]
    assert -1.0 < of_noise < -0.9


def monte_carlo(names, device="capacitor", count=48):
    """1 - cosine of the error budget's own learning step, on the circuit compiled anew, against the oracle."""
    _, weights, batch = block("free", **SIZES)
    knobs = designs(device).knobs
    compiled = knobs.built({k: float(v) for k, v in knobs.values(knobs.start + ELSEWHERE).items()})
    assert to_weights(compiled.netlist.arrays, compiled.scale)["query"] == pytest.approx(weights["query"])
    step = LearningStep(CircuitPhases(compiled), weights, one(batch, 0), hardware=hardware(device), horizon=None)
    on = np.array([[name in names for name in step.names]] * count)
    angle = np.asarray(step.evaluate(on, jax.random.split(jax.random.key(3), count)).angle)
    return angle.mean(), angle.std(ddof=1) / np.sqrt(count)


def test_the_cosine_of_a_noisy_reading_by_sampling():
    """Readings drawn one by one in numpy, of the multipliers that a dense solve gives, on the circuit compiled anew."""
    point, built = anew(designs().knobs.start + ELSEWHERE), hardware()
    circuit, rng, repeats = point.circuit, np.random.default_rng(5), 4
    v = {bus: point.voltages[bus] for bus in circuit.states}
    G = np.asarray(circuit.conductance(v, point.x, point.theta))
    error = point.x["weight"][:, None] / 0.1 * (point.x["target"] - point.voltages["prediction"])
    push = {bus: np.zeros(s.shape) for bus, s in circuit.states.items()} | {LOGITS: circuit.scale.siemens * error}
    moved = circuit.unflatten(np.linalg.solve(G.T, 2 * built.beta * np.asarray(circuit.flatten(push))))
    moved = {bus: np.asarray(d) for bus, d in moved.items()}
    noise = {bus: np.sqrt(1.380649e-23 * built.device.kelvin / np.max(circuit.capacitance[bus])) for bus in v}

    def read(volts, sigma):
        step = (np.abs(volts).max() + 4 * sigma) / 127
        noisy = volts + sigma * rng.standard_normal((repeats, *volts.shape))
        return (np.clip(np.round(noisy / step), -127, 127) * step).mean(0)

    def gradient(reading):
        drive = {bus: reading(u, noise[bus]) if bus in noise else u for bus, u in point.voltages.items()}
        contrast = {bus: reading(d, np.sqrt(2) * noise[bus]) for bus, d in moved.items()}
        bars = [e for e in point.compiled.netlist if e.array is not None]
        return np.concatenate([np.ravel(contrast[e.columns].T @ drive[e.rows]) for e in bars])

    truth = gradient(lambda volts, sigma: volts)
    drawn = [gradient(read) for _ in range(200)]
    angles = [1 - g @ truth / np.linalg.norm(g) / np.linalg.norm(truth) for g in drawn]
    mean, spread = np.mean(angles), np.std(angles) / np.sqrt(200)
    assert spread < 0.03 * mean
    assert evaluation().objectives[ERROR] == pytest.approx(mean, abs=4 * spread)


@pytest.mark.slow
def test_the_cosine_of_a_noisy_reading_by_the_error_budget():
    mean, error = monte_carlo(("thermal noise", "ADC"))
    assert error < 0.05 * mean
    assert evaluation().objectives[ERROR] == pytest.approx(mean, abs=4 * error)


@pytest.mark.slow
def test_the_cosine_of_noisy_devices_by_monte_carlo():
    """Four fixed draws stand for many: within their own spread."""
    mean, error = monte_carlo(("thermal noise", "ADC", "read noise"), "pcm")
    assert evaluation("pcm").objectives[ERROR] == pytest.approx(mean, abs=4 * error * np.sqrt(48 / 4))
    assert mean > 2 * evaluation().objectives[ERROR]
    at, h = designs("pcm").knobs.start + ELSEWHERE, 1e-3
    for k in (0, 3):
        up, down = (designs("pcm").evaluate(at + s * h * np.eye(5)[k]).objectives[ERROR] for s in (1, -1))
        assert evaluation("pcm").slope(ERROR)[k] == pytest.approx((up - down) / (2 * h), rel=5e-3)


@pytest.mark.parametrize("sigma", [0.0, 0.1, 0.2, 0.4, 1.0])
def test_readings_that_are_rounded_by_monte_carlo(sigma):
    rng, repeats, volts = np.random.default_rng(0), 16, 1.0
    converter = Converter(8, 127 * volts)
    held = rng.uniform(-20, 20, 4000)
    noisy = held[:, None] + sigma * rng.standard_normal((4000, repeats))
    wrong = np.asarray(converter(noisy, None)).mean(1) - held
    # of 4000 squares, whose spread is at most that of a normal one
    assert float(reading_variance(sigma**2, volts, repeats)) == pytest.approx(np.mean(wrong**2), rel=0.09)


def toy(logs):
    """Energy x + 1/y and error 1/x + y, times in constant: a front in closed form, with derivatives."""
    x, y = np.exp(logs)
    values = {"energy_per_token": x + 1 / y, "cosine_error": 1 / x + y, "settling_time": x, "loss": 1.0}
    slopes = np.array([[x, -1 / y], [-1 / x, y], [x, 0.0], [0.0, 0.0]])
    return Evaluation(np.array(logs), values, slopes, True, "", 0.0)


BOX = np.log([[0.1, 10.0], [0.1, 10.0]])


def test_problems_with_known_solutions():
    least = solve(toy, np.zeros(2), BOX, ceilings=Ceilings(), error=0.0)
    assert least.converged
    assert np.exp(least.evaluation.logs) == pytest.approx([10, 0.1], rel=1e-6)
    # least x + 1/y with 1/x + y <= 2: by symmetry at x = 1/y = 1
    middle = solve(toy, np.log([5.0, 0.5]), BOX, ceilings=Ceilings(), error=2.0)
    assert middle.converged
    assert np.exp(middle.evaluation.logs) == pytest.approx([1, 1], rel=0.05)
    assert middle.evaluation.objectives[ERROR] == pytest.approx(2, rel=3e-3)
    bounded = solve(toy, np.zeros(2), BOX, ceilings=Ceilings(settling_time=3.0), error=0.0)
    assert np.exp(bounded.evaluation.logs)[0] == pytest.approx(3, rel=3e-3)


def test_a_wrong_sign_is_noticed():
    def wrong(logs):
        right = toy(logs)
        return Evaluation(right.logs, right.objectives, -right.slopes, True, "", 0.0)

    found = solve(wrong, np.log([5.0, 0.5]), BOX, ceilings=Ceilings(), error=2.0)
    assert found.evaluation is None or found.evaluation.objectives[ENERGY] > 2.2


def test_a_front_is_traced_and_gaps_are_halved():
    found = trace_front(toy, np.zeros(2), BOX, ceilings=Ceilings(), points=9)
    both = np.array([[s.evaluation.objectives[ENERGY], s.evaluation.objectives[ERROR]] for s in found])
    assert len(found) == 9
    assert all(s.converged for s in found)
    order = np.argsort(both[:, 0])
    assert np.all(np.diff(both[order, 1]) < 0)
    # the front is energy * error = 4: x = 1/y minimizes both
    assert both.prod(1) == pytest.approx(4 * np.ones(9), rel=0.02)


def test_designs_that_do_not_settle_turn_the_search_back():
    def unstable(logs):
        if np.exp(logs[0]) > 3:
            nothing = dict.fromkeys(OBJECTIVES, float("nan"))
            return Evaluation(np.array(logs), nothing, np.full((4, 2), np.nan), False, "it rings", 0.0)
        return toy(logs)

    found = solve(unstable, np.zeros(2), BOX, ceilings=Ceilings(), error=0.0)
    assert found.evaluation.settled
    assert found.evaluation.objectives[ERROR] < toy(np.zeros(2)).objectives[ERROR]


def test_the_budget_ends_a_front():
    seen = []

    def few(logs):
        if len(seen) == 12:
            raise BudgetSpent
        seen.append(1)
        return toy(logs)

    assert 1 <= len(trace_front(few, np.zeros(2), BOX, ceilings=Ceilings())) < 12


def test_nondominated_and_hypervolume_by_hand():
    points = np.array([[1.0, 4.0], [2.0, 2.0], [3.0, 3.0], [4.0, 1.0], [2.0, 2.0], [np.nan, 0.0], [4.0, 4.0]])
    assert nondominated(points).tolist() == [True, True, False, True, True, False, False]
    # below and left of (5, 5): 4 x 1 + 3 x 2 + 1 x 1
    assert hypervolume(points, (5.0, 5.0)) == pytest.approx(11.0)
    assert hypervolume(points[:1], (5.0, 5.0)) == pytest.approx(4.0)
    assert hypervolume(points, (1.0, 1.0)) == 0.0
    assert hypervolume(np.full((2, 2), np.nan), (5.0, 5.0)) == 0.0


def test_knobs_that_cannot_be():
    compiled, device = designs().knobs.compiled, hardware().device
    for bounds, message in (
        ({"volts": (0.1, 0.2)}, "there is no 'volts'; choose of damping, "),
        ({"damping": (2.0, 0.5)}, "damping from 2 to 0.5 1 is no range"),
        ({"damping": (0.0, 2.0)}, "0 < low <= high"),
        ({"cell_farads": (2e-15, 5e-15)}, "of the block as it is lies outside 2e-15 ... 5e-15 F"),
        ({"siemens": (1e-6, 1e-3)}, "devices hold the largest weight up to"),
    ):
        with pytest.raises(SpecError, match=message):
            Knobs(compiled, device, bounds=bounds)
    model, weights, _ = block("free", **SIZES)
    with pytest.raises(SpecError, match="use 'parasitic'"):
        Knobs(compile_transformer(model, weights, level="ideal"), device)
    several, weights, _ = block("free", **SIZES, damping=(1.0, 2.0, 1.0, 1.0))
    with pytest.raises(SpecError, match="lists 4 values; give one"):
        Knobs(compile_transformer(several, weights, scale=Scale(0.1, 2e-6, 1e-14)), device)
    with pytest.raises(SpecError, match="settling_time = -1"):
        Ceilings(settling_time=-1.0)


def test_knobs_that_are_held_still():
    compiled, device = designs().knobs.compiled, hardware().device
    held = Knobs(compiled, device, bounds={"damping": (1.0, 1.0)})
    assert np.ptp(held.box[0]) == 0
    assert held["siemens"].high <= device.span / max(np.abs(g).max() for g in compiled.netlist.arrays.values()) * 2e-6


@cache
def compared():
    own = designs().evaluate(designs().knobs.start)
    ceilings = Ceilings(settling_time=1e-7, loss=own.objectives["loss"] + 0.1)
    with patch.object(searches, "FAR", 1):
        return compare(designs(), ceilings=ceilings, budget=12, seeds=(0, 1))


@pytest.mark.slow
def test_searches_at_equal_cost():
    pytest.importorskip("optuna")
    data = compared()
    assert data.sizes["search"] == 3
    gradient = data.sel(search="gradient")
    assert int(np.isfinite(gradient["seconds"]).sum()) == 24
    assert (np.isfinite(data["seconds"]).sum("evaluation") >= 12).all()
    for name in data["search"].values:
        for seed in data["seed"].values:
            one_ = data.sel(search=name, seed=seed)
            both = np.stack([one_[ENERGY].values[one_["front"].values], one_[ERROR].values[one_["front"].values]], 1)
            assert nondominated(both).all()
            assert one_["kept"].values[one_["front"].values].all()
            volume = one_["hypervolume"].values[np.isfinite(one_["hypervolume"].values)]
            assert np.all(np.diff(volume) >= 0)
            assert one_["at_equal_evaluations"] == pytest.approx(volume[11])
    # same start for all; from the block as it is the gradient gets far
    first = data["damping"].isel(evaluation=0).values
    assert first == pytest.approx(np.broadcast_to(first[:1], first.shape))
    own = gradient.sel(seed=0)
    assert float(own["at_equal_evaluations"]) > float(own["hypervolume"].isel(evaluation=0)) + 0.2
    assert {data[name].attrs["units"] for name in ("state_farads", "siemens", ENERGY, "settling_time")} == set("FSJs")
    found = json.loads(json.dumps(summary(data), default=float))
    energies = [row[ENERGY] for row in found["front"]]
    assert energies == sorted(energies)
    assert found["searches"]["gradient"]["solved"] + found["searches"]["gradient"]["unsolved"] >= 1


def test_stored_designs_are_those_that_were_simulated():
    """Solvers write into the vectors that they hand out."""
    logs = designs().knobs.start.copy()
    found = designs().evaluate(logs)
    logs += 1.0
    assert found.logs == pytest.approx(designs().knobs.start)
    data = compared().sel(search="gradient", seed=0)
    last = data.isel(evaluation=int(np.flatnonzero(data["front"])[-1]))
    again = designs().evaluate(np.log([float(last[name]) for name in designs().knobs.names])).objectives
    assert again == pytest.approx({name: float(last[name]) for name in OBJECTIVES}, rel=1e-4)


def test_bounds_without_room_end_a_search():
    pytest.importorskip("optuna")
    start = designs().knobs.start
    knobs = Knobs(designs().knobs.compiled, hardware().device)
    knobs.knobs = [knob._replace(low=knob.value, high=knob.value) for knob in knobs.knobs]
    fixed = Designs.__new__(Designs)
    fixed.knobs = knobs
    fixed.evaluate = lambda logs, *, gradient=False: designs().evaluate(logs, gradient=gradient)
    assert len(by_gradient(fixed, ceilings=Ceilings(), budget=20).evaluations) <= 2
    sampled = searches.by_sampler(fixed, "tpe", ceilings=Ceilings(), budget=2).evaluations
    assert sampled[0].logs == pytest.approx(start)


def test_starts_that_never_settle_are_an_error():
    class Ringing(Designs):
        def evaluate(self, logs, *, gradient=False):
            nothing = dict.fromkeys(OBJECTIVES, float("nan"))
            return Evaluation(logs, nothing, None, False, "it rings", 0.0)

    ringing = Ringing.__new__(Ringing)
    ringing.knobs = designs().knobs
    with pytest.raises(ConvergenceError, match="none of 21 random designs settles"):
        by_gradient(ringing, ceilings=Ceilings(), budget=50)
    with pytest.raises(ConvergenceError, match="it rings"):
        compare(ringing, ceilings=Ceilings(), budget=5)
    with pytest.raises(SpecError, match="there is no method 'annealing'"):
        compare(ringing, ceilings=Ceilings(), budget=5, methods=("annealing",))


def test_the_figure_has_its_axes(tmp_path):
    pytest.importorskip("optuna")
    data = compared().assign_attrs({"limit_energy_per_token": 1e-9, "limit_cosine_error": 0.1})
    figure = plots.figure(data)
    labels = [(ax.get_xlabel(), ax.get_ylabel()) for ax in figure.axes]
    assert labels[0] == ("energy per token (pJ)", "1 − cosine of the gradient (1)")
    assert all("(" in text for pair in labels for text in pair)
    said = " ".join(text.get_text() for text in figure.axes[0].get_legend().get_texts())
    assert all(word in said for word in ("SLSQP", "NSGA-II", "TPE", "the spec's block", "limit: 1000 pJ"))
    assert plots.draw(data, tmp_path / "front.png").stat().st_size > 10_000
    assert plots.progress(data, over="seconds").get_xlabel() == "time of the search (s)"
    with pytest.raises(DataError, match="needs energy_per_token"):
        plots.front(xr.Dataset())
    with pytest.raises(DataError, match="choose 'evaluations' or 'seconds'"):
        plots.progress(data, over="watts")


def test_the_verb_refuses_before_it_works(command_line, tmp_path):
    pytest.importorskip("optuna")
    (tmp_path / "file").write_text("")
    for arguments, message in (
        (("--pareto", tmp_path / "file"), "cannot make the folder"),
        (("--pareto", tmp_path, "--set", "compile.level=ideal"), "use 'parasitic'"),
        (("--pareto", tmp_path, "--evaluations", 1), "evaluations"),
    ):
        code, _, err = command_line("feasibility", *arguments)
        assert code == 2
        assert message in " ".join(err.split())


@pytest.mark.slow
def test_the_verb_writes_data_and_figure(command_line, tmp_path):
    pytest.importorskip("optuna")
    small = ("model.tokens=2", "model.channels=4", "model.ffn=4", "feasibility.chips=2", "feasibility.repeats=2")
    sets = [part for each in (*small, "technology.device=capacitor") for part in ("--set", each)]
    folder = tmp_path / "designs"
    code, out, err = command_line("feasibility", "--json", "--pareto", folder, "--evaluations", 12, *sets)
    found = json.loads(out)
    assert code == (0 if found["verdict"] == "feasible" else 1)
    assert set(found["pareto"]["searches"]) == {"gradient", "nsga2", "tpe"}
    assert found["pareto"]["searches"]["gradient"]["hypervolume"]["at_equal_evaluations"]["mean"] > 0
    assert (folder / "pareto.png").exists()
    assert xr.open_dataset(folder / "pareto.nc", engine="h5netcdf").sizes["seed"] == 3
    assert "designs: gradient, seed 0" in err


@pytest.mark.slow
def test_the_front_of_the_docs_is_what_designs_give():
    """The dataset that the page shows was made with these laws and this block."""
    data = xr.open_dataset(Path(__file__).parents[1] / "docs" / "examples" / "pareto.nc", engine="h5netcdf").load()
    spec = load_spec(None, ["technology.device=capacitor", "technology.levels=64"])
    device = preset("capacitor").at(levels=64)
    shown = designs_of(build(spec), Hardware(device=device, **spec.feasibility.hardware))
    best = data.sel(search="gradient", seed=0)
    best = best.isel(evaluation=int(np.nanargmin(best[ERROR].where(best["front"]))))
    found = shown.evaluate(np.log([float(best[name]) for name in shown.knobs.names])).objectives
    assert found == pytest.approx({name: float(best[name]) for name in OBJECTIVES}, rel=1e-4)
    own = shown.evaluate(shown.knobs.start).objectives
    assert own == pytest.approx({name: data.attrs[f"own_{name}"] for name in OBJECTIVES}, rel=1e-4)
