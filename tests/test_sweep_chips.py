"""Chips with errors: their exact gradient against finite differences, their spread against what was asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from analogep.errors import DataError
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import settle
from analogep.spec import Chip, load_spec
from analogep.sweep import chips as chips_module
from analogep.sweep import make_plan, measures, parse_axis, quantiles, run
from analogep.sweep.store import JOURNAL
from analogep.technology import apply, from_pairs, named_key, preset, to_pairs
from analogep.training.shared import fingerprint

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = ("model.tokens=3", "model.channels=4", "model.heads=2", "model.ffn=4", "model.asymmetry=0.4",
         "data.objective=last_token")  # fmt: skip
SEVERE = ("chip.mismatch=0.1", "chip.offset=0.005", "technology.device=hfo2", "technology.siemens=2e-5")


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    """spec(setting, ...): a small block over a text of few characters."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("abcde abc. " * 30, encoding="utf-8")
    return lambda *settings: load_spec(None, [*SMALL, f"data.text={path}", *settings])


@pytest.fixture(scope="module")
def made(spec):
    """The circuit that was meant, the errors of chip 3, and what `Chips` finds on its sample."""
    given = spec(*SEVERE, "chip.number=3")
    meant = measures._meant(*fingerprint(given.model_copy(update={"chip": Chip()})))
    errors = meant.draw(given)
    (found,) = meant.program.run([meant.x], [meant.at.theta], [errors])
    return meant, errors, found


def test_the_exact_gradient_of_a_chip_is_the_slope_of_its_loss(made):
    """By central differences of the loss of a circuit that is built with the chip's numbers."""
    meant, errors, found = made
    assert found.settled
    x = {rail: volts[0] for rail, volts in meant.x.items()}
    netlist, scale = meant.program.circuit.netlist, meant.program.scale
    cells = [netlist.elements[cell] for cell in errors.gains]
    own = [e.with_numbers({"siemens": e.siemens * np.asarray(errors.gains[e.name])}) for e in cells]
    built = Circuit(netlist.replace_elements(*own), scale)
    arrays = {name: np.asarray(g) for name, g in errors.arrays.items()}
    numbers = {
        name: n for name, n in meant.at.theta.items() if name not in arrays and name.split(".")[0] not in errors.gains
    }
    target, weight = np.asarray(x["target"]) / scale.volts, np.asarray(x["weight"]) / scale.volts

    def loss_at(arrays):
        rest = settle(built, x, {**numbers, **arrays}, sources=errors.offsets)
        logits = np.asarray(rest.v["logits"]) / scale.volts
        return float(np.sum(weight * (np.log(np.exp(logits).sum(-1)) - (target * logits).sum(-1))))

    assert float(found.loss) == pytest.approx(loss_at(arrays), rel=1e-9)
    for name, at in (
        ("value", (1, 2)),
        ("energy_query", (0, 3)),
        ("embed", (2, -1)),
        ("readout", (1, 1)),
        ("ffn_in", (3, 0)),
    ):
        step = 1e-4 * scale.siemens
        ends = [loss_at({**arrays, name: arrays[name] + _only(arrays[name], at, sign * step)}) for sign in (1, -1)]
        assert float(found.exact[name][at]) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5, abs=1e-3), name


def _only(like, at, value):
    out = np.zeros_like(like)
    out[at] = value
    return out


def test_a_chip_without_errors_is_the_circuit_that_was_meant(spec):
    found = measures.chip(spec(*SEVERE, "chip.mismatch=0", "chip.offset=0", "chip.devices=false", "chip.number=9"))
    assert found["converged"]
    assert found["loss_change"] == 0
    assert found["reversed_cosine"] == pytest.approx(1, abs=1e-12)
    assert found["reversed_relative_error"] < 1e-6


def test_copies_spoil_the_gradient_and_not_the_chip(made):
    """With equal copies, and errors at the logits as they are, the measured gradient is the exact one."""
    meant, errors, found = made
    equal = errors._replace(
        copies=jax.tree.map(jnp.ones_like, errors.copies),
        gains={**errors.gains, "predict": jnp.ones_like(errors.gains["predict"])},
        offsets={**errors.offsets, "prediction": jnp.zeros_like(errors.offsets["prediction"])},
    )
    (right,) = meant.program.run([meant.x], [meant.at.theta], [equal])
    assert float(right.loss) == pytest.approx(float(found.loss), rel=1e-12)
    for name, g in found.exact.items():
        size = np.linalg.norm(g)
        np.testing.assert_allclose(right.exact[name], g, atol=1e-9 * size)
        np.testing.assert_allclose(right.measured[name], g, atol=1e-6 * size)
    assert np.linalg.norm(found.measured["value"] - found.exact["value"]) > 0.02 * np.linalg.norm(found.exact["value"])


def test_the_errors_have_the_spread_that_was_asked_for(spec, made):
    given = [spec(*SEVERE, f"chip.number={k}") for k in range(12)]
    meant, first, _ = made
    drawn = [meant.draw(each) for each in given]
    for what, wanted in (("gains", 0.1), ("copies", 0.1)):
        values = np.concatenate([np.ravel(v) for e in drawn for v in getattr(e, what).values()])
        assert values.mean() == pytest.approx(1, abs=5 * wanted / np.sqrt(values.size))
        assert values.std() == pytest.approx(wanted, rel=0.05)
    offsets = np.concatenate([np.ravel(v) for e in drawn for v in e.offsets.values()])
    assert offsets.std() == pytest.approx(0.005 * 2e-5, rel=0.05)
    both = [np.concatenate([np.ravel(v) for v in getattr(first, what).values()]) for what in ("gains", "copies")]
    assert abs(np.corrcoef(both)[0, 1]) < 5 / np.sqrt(both[0].size)
    for one, other in ((drawn[0], drawn[1]), (drawn[3], meant.draw(spec(*SEVERE, "chip.number=3", "seed=1")))):
        assert np.max(np.abs(one.gains["act"] - other.gains["act"])) > 0.01
        assert np.max(np.abs(one.arrays["value"] - other.arrays["value"])) > 0
    again = meant.draw(given[3])
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(first), strict=True))


def test_arrays_are_written_devices_of_the_technology(made):
    meant, errors, _ = made
    key = named_key(jax.random.fold_in(named_key(jax.random.key(0), "chip"), 3), "written")
    wanted = from_pairs(apply(preset("hfo2").written(), to_pairs(meant.arrays, preset("hfo2")), key))
    for name, g in wanted.items():
        np.testing.assert_allclose(errors.arrays[name], g, rtol=1e-12, atol=1e-20)


@pytest.mark.slow
def test_side_by_side_or_one_after_another_makes_no_difference(spec, monkeypatch):
    given = [
        spec(*SEVERE, f"chip.number={k}", f"model.damping={c}") for k, c in ((0, 1.0), (3, 1.0), (1, 2.0), (2, 1.0))
    ]
    alone = measures.chips(given)

    def tolerance(name):  # a time is the end of a step, whose length follows from an error at the level of rounding
        return 1e-2 if "time" in name else 1e-8

    monkeypatch.setattr(chips_module, "WIDTH", 3)  # two groups, the second filled up
    together = measures.chips(given)
    assert all(one["converged"] for one in alone)
    assert len({one["reversed_cosine"] for one in alone}) == 4
    for one, other in zip(alone, together, strict=True):
        for name, value in one.items():
            assert other[name] == pytest.approx(value, rel=tolerance(name), abs=1e-9), name


def test_a_sweep_over_chips_has_quantiles(spec, tmp_path):
    tables = spec(*SEVERE).model_dump(mode="json")
    del tables["sweep"]
    plan = make_plan(tables, [parse_axis("model.damping=1.0,2.0"), parse_axis("chip.number=0:4:5")], ["chip"])
    data = run(plan, tmp_path).dataset
    assert set(data["status"].values.ravel()) == {"done"}
    one = measures.chip(spec(*SEVERE, "chip.number=3", "model.damping=2.0"))
    place = data.sel({"model.damping": 2.0, "chip.number": 3})
    assert {name: float(place[name]) for name in one if name != "converged"} == {
        k: v for k, v in one.items() if k != "converged"
    }
    with xr.open_dataset(tmp_path / "quantiles.nc", engine="h5netcdf") as found:
        assert found["loss"].dims == ("quantile", "model.damping")
        assert found["loss"].attrs["units"] == "nats"
        wanted = np.median(data["loss"].values, axis=1)
        np.testing.assert_allclose(found["loss"].sel(quantile=0.5), wanted, rtol=1e-14)
        assert np.all(found["done"] == 1)
    journal = tmp_path / JOURNAL
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:4]))
    again = run(plan, tmp_path)
    assert again.measured > 0
    for name in ("loss", "reversed_cosine", "settling_time"):
        assert again.dataset[name].values.tobytes() == data[name].values.tobytes()


def test_quantiles_leave_out_what_is_not_there():
    numbers = np.array([3.0, 1.0, np.nan, 2.0])
    data = xr.Dataset(
        {"loss": ("chip.number", numbers), "status": ("chip.number", ["done", "done", "unconverged", "done"]),
         "error": ("chip.number", [""] * 4), "seconds": ("chip.number", np.ones(4))},
        {"chip.number": range(4)}, {"title": "chips"},
    )  # fmt: skip
    found = quantiles(data, levels=(0.0, 0.5))
    np.testing.assert_array_equal(found["loss"], [1.0, 2.0])
    assert float(found["done"]) == 0.75
    assert set(found.data_vars) == {"loss", "done"}
    with pytest.raises(DataError, match=r"no axis 'seed'; it has chip\.number"):
        quantiles(data, "seed")


def test_chips_that_cannot_be_made_are_rows(spec, tmp_path):
    tables = spec(*SEVERE).model_dump(mode="json")
    del tables["sweep"]
    axes = [parse_axis("compile.level=ideal,parasitic"), parse_axis("technology.gmax=1.2e-4,6e-5")]
    data = run(make_plan(tables, axes, ["chip"]), tmp_path).dataset
    assert data["status"].values.tolist() == [["failed", "failed"], ["done", "failed"]]
    assert "need compile.level = 'parasitic', not 'ideal'" in str(data["error"].values[0, 0])
    assert "does not fit a pair of 'hfo2' devices" in str(data["error"].values[1, 1])
