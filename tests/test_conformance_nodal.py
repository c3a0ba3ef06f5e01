"""The views of elements that bring unknowns of their own: law, derivatives, SPICE text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nodal_cases import CASES

from analogep.netlist.spice.read import read
from analogep.netlist.spice.write import write_file
from analogep.simulate.nodal import Nodal
from analogep.simulate.nodal.operating_point import operating_point
from analogep.simulate.spice import run_file

pytestmark = pytest.mark.usefixtures("quick_compilation")
STEP = 1e-6


@pytest.mark.spice
@pytest.mark.parametrize("name", CASES)
def test_law_against_ngspice(name):
    file = CASES[name]()
    nodal = Nodal(file.netlist)
    x = np.asarray(operating_point(nodal).x)
    (theirs,) = run_file(file)
    for k, node in enumerate(nodal.netlist.buses):
        assert x[k] == pytest.approx(float(theirs[f"v({node})"]), rel=1e-6, abs=1e-9), node


@pytest.mark.parametrize("name", CASES)
def test_derivatives(name):
    """Entries of di/dx and dq/dx against central differences of the elements' own laws, one by one."""
    nodal = Nodal(CASES[name]().netlist)
    rng = np.random.default_rng(5)
    x = rng.uniform(-0.6, 0.6, nodal.size)
    found = nodal.matrices(x, nodal.theta)

    def total(at):
        """Stamps and charges summed element by element, without stacks."""
        v = dict(zip(nodal.unknowns, at, strict=True)) | {"0": 0.0}
        sums = [dict.fromkeys(nodal.unknowns, 0.0) for _ in range(2)]
        for element in nodal.netlist:
            if element.tied:
                owned = {f: nodal.netlist.elements[n.rpartition(".")[0]].henries for f, n in element.tied.items()}
                element = element.with_numbers({**element.numbers, **owned})
            for into, part in zip(sums, (element.stamp(v, {}, 0.0), element.charges(v)), strict=True):
                for unknown, value in part.items():
                    if unknown != "0":
                        into[unknown] = into[unknown] + value
        return jnp.stack([jnp.stack([jnp.asarray(s[u], float) for u in nodal.unknowns]) for s in sums])

    moved = x + STEP * np.concatenate([np.eye(nodal.size), -np.eye(nodal.size)])
    values = np.asarray(jax.jit(jax.vmap(total))(jnp.asarray(moved)))
    slopes = (values[: nodal.size] - values[nodal.size :]) / (2 * STEP)
    for matrix, expected in zip(found, slopes.transpose(1, 2, 0), strict=True):
        scale = np.abs(expected).max(axis=1, keepdims=True) + 1e-300
        assert np.abs((matrix - expected) / scale).max() < 1e-5


@pytest.mark.parametrize("name", CASES)
def test_text_is_read_back(name):
    """Written and read again, the circuit has the same unknowns, matrices and currents."""
    file = CASES[name]()
    first, again = Nodal(file.netlist), Nodal(read(write_file(file)).netlist)
    assert len(first.unknowns) == len(again.unknowns)
    order = [again.place[_same(u, again)] for u in first.unknowns]
    x = np.random.default_rng(3).uniform(-0.5, 0.5, first.size)
    y = np.zeros(first.size)
    y[order] = x
    np.testing.assert_allclose(
        np.asarray(again.stamp(jnp.asarray(y), again.theta))[order],
        first.stamp(jnp.asarray(x), first.theta),
        rtol=1e-12,
    )
    np.testing.assert_allclose(
        np.asarray(again.charge(jnp.asarray(y), again.theta))[order],
        first.charge(jnp.asarray(x), first.theta),
        rtol=1e-12,
        atol=1e-40,
    )


def _same(unknown, nodal):
    """Name of an unknown in the circuit read back, whose elements may bear their letter twice (`l1` or `ll1`)."""
    if unknown in nodal.place:
        return unknown
    inner = unknown[2:-1] if unknown.startswith("i(") else unknown
    return next(name for name in nodal.unknowns if name.endswith((inner, inner + ")")))
