"""Random connected circuits: operating point and phasors against a dense assembly that shares no code."""

import numpy as np
import pytest
from dense_mna import solve
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from analogep.netlist.spice.read import read
from analogep.simulate.nodal import Nodal
from analogep.simulate.nodal.operating_point import operating_point
from analogep.simulate.nodal.small_signal import ac

pytestmark = pytest.mark.usefixtures("quick_compilation")
NODES = ("n1", "n2", "n3", "n4")
RANGES = {"R": (2, 5), "C": (-12, -9), "L": (-6, -3), "I": (-5, -3), "G": (-5, -3)}


@st.composite
def circuits(draw):
    """A tree of resistors to ground keeps every node connected; voltage-defined elements form no loop."""
    index = st.integers(0, len(NODES) - 1)
    any_node = st.sampled_from(("0", *NODES))
    value = lambda kind: 10 ** draw(st.floats(*RANGES[kind]))  # noqa: E731
    parts = [("V", "in", "0", draw(st.floats(-2, 2)))]
    tree = ("0", "in", *NODES)
    parts += [("R", node, tree[draw(st.integers(0, k + 1))], value("R")) for k, node in enumerate(NODES)]
    for kind in draw(st.lists(st.sampled_from("RCIGDD"), min_size=2, max_size=6)):
        a, b = NODES[draw(index)], draw(any_node)
        assume(a != b)
        if kind == "D":
            parts.append(("D", *draw(st.sampled_from(((a, b), (b, a)))), 0.0))
        elif kind == "G":
            parts.append(("G", a, b, value("G"), NODES[draw(index)], draw(any_node)))
        else:
            parts.append((kind, a, b, value(kind)))
    kind = draw(st.sampled_from(("", "L", "E")))
    if kind == "L":
        parts.append(("L", NODES[draw(index)], "in", value("L")))
    elif kind == "E":
        parts.append(("E", "e", "0", draw(st.floats(-3, 3)), NODES[draw(index)], "0"))
        parts.append(("R", "e", NODES[draw(index)], value("R")))
    return parts


def deck(parts):
    lines = ["* random", ".model dd D(IS=1e-14)"]
    for k, (kind, a, b, value, *control) in enumerate(parts):
        if kind == "D":
            lines.append(f"D{k} {a} {b} dd")
        else:
            amplitude = " ac 1" if kind == "V" else ""
            lines.append(f"{kind}{k} {a} {b} {' '.join([*control, repr(value)])}{amplitude}")
    return "\n".join([*lines, ".op", ".end", ""])


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(circuits(), st.floats(3, 7))
def test_random_circuits(parts, decade):
    nodes = list(dict.fromkeys(n for p in parts for n in (p[1], p[2]) if n != "0"))
    at = solve(parts, nodes)
    assume(at is not None)
    assume(np.abs(at[: len(nodes)]).max() < 50)
    nodal = Nodal(read(deck(parts)).netlist)
    rest = operating_point(nodal)
    mine = np.array([float(rest.x[nodal.place[n]]) for n in nodes])
    np.testing.assert_allclose(mine, at[: len(nodes)], rtol=1e-7, atol=1e-9)
    small = [(*p[:3], (1.0 if p[0] == "V" else 0.0), *p[4:]) if p[0] in "VI" else p for p in parts]
    phasors = solve(small, nodes, 10**decade, at)
    found = np.asarray(ac(nodal, rest.x, nodal.theta, np.array([10**decade])))[0]
    found = np.array([found[nodal.place[n]] for n in nodes])
    assert np.abs(found - phasors).max() < 1e-6 * max(1.0, np.abs(phasors).max())
