"""Every kind of element in every analysis, ours against ngspice."""

import numpy as np
import pytest
import xarray as xr

from analogep.netlist.spice.read import read
from analogep.simulate.deck import LIMITS, _worst, simulate_deck
from analogep.simulate.nodal.run import run_file

pytestmark = [pytest.mark.spice, pytest.mark.usefixtures("quick_compilation")]

LINEAR = """* R C L K V I E F G H B and X
.subckt divider in out
Rt in out 1k
Rb out 0 3k
Cb out 0 50p
.ends
V1 in 0 dc 0.5 ac 1 sin(0.5 0.4 300k)
I1 0 e dc 20u ac 10u 30 pulse(20u 120u 0.3u 0.2u 0.2u 0.5u 2u)
R1 in a 1k
L1 a 0 200u
L2 b 0 300u
K1 L1 L2 0.6
R2 b c 500
C1 c 0 200p
E1 d 0 c 0 2.5
R3 d e 2k
C2 e 0 80p
G1 e 0 c a 0.3m
V2 e f 0
R4 f 0 1k
F1 0 g V2 3
R5 g 0 700
C3 g 0 100p
H1 h 0 V2 2k
X1 h k divider
B1 m 0 V=0.3*tanh(2*v(k))+i(V2)*100+0.1*v(in)
R6 m n 1k
B2 n 0 I=1m*v(n)*v(n)+0.2m*v(n,k)
C4 n 0 60p
"""
ACTIVE = """* D Q M S with all their charges; the switch open at rest, for in AC ngspice 39 opens a closed one
.model dd D(IS=1e-14 N=1.1 RS=5 CJO=3p TT=2n)
.model qn NPN(IS=1e-16 BF=120 VAF=60 RB=50 RE=1 CJE=1p CJC=0.6p TF=0.2n KF=1e-14 AF=1)
.model mn NMOS(LEVEL=1 VTO=0.6 KP=200u LAMBDA=0.05 GAMMA=0.4 CGSO=0.3n CGDO=0.3n TOX=10n)
.model sw SW(VT=1.25 VH=0 RON=100 ROFF=1meg)
Vdd vdd 0 3
Vin in 0 dc 0.9 ac 1 sin(0.9 0.15 5meg)
Rin in b 2k
Q1 c b e qn
Rc vdd c 2k
Re e 0 200
D1 c d dd
Rd d 0 10k
Cd d 0 1p
M1 o d 0 0 mn W=20u L=1u
Ro vdd o 5k
Co o 0 0.5p
S1 o s in 0 sw
Rs s 0 50k
"""
DECKS = {
    "linear": LINEAR
    + ".op\n.dc V1 -1 1 0.25\n.dc V1 -1 1 0.5 I1 -0.1m 0.1m 0.1m\n.ac dec 5 1k 10meg\n.noise v(n) V1 dec 5 1k 10meg\n"
    + ".tran 20n 4u 0 20n\n.end\n",
    "active": ACTIVE
    + ".op\n.dc Vin 0 2 0.1\n.ac dec 3 10k 1g\n.noise v(o) Vin dec 3 100 1g\n"
    + ".tran 2n 400n 0 2n\n.end\n",
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "active")) for name in DECKS])
def test_every_analysis_agrees_with_ngspice(name):
    result = simulate_deck(read(DECKS[name]), "both")
    kinds = [agreement.kind for agreement in result.agreements]
    assert sorted(set(kinds)) == ["ac", "dc", "noise", "op", "tran"]
    for agreement in result.agreements:
        assert agreement.error < LIMITS[agreement.kind], (agreement.analysis, agreement.variable)
        assert agreement.current_error < LIMITS[agreement.kind], agreement.analysis
        print(name, agreement.analysis, agreement.error, agreement.current_error)


UIC = """* initial conditions of every kind, some on nodes, some on elements
V1 in 0 2
R1 in a 1k
C1 a 0 1n
R2 a b 1k
C2 b c 2n ic=1.5
R3 c 0 500
L1 a d 1m ic=2m
R4 d 0 100
D1 e 0 dd
.model dd D(IS=1e-14 CJO=5p)
R5 b e 5k
.ic v(a)=0.7 v(b)=-0.2
.tran 20n 4u 0 20n uic
.end
"""


def test_initial_conditions_without_an_operating_point():
    result = simulate_deck(read(UIC), "both")
    ours, theirs = result.datasets[0], result.references[0]
    ours = ours.isel(
        time=ours["time"].values >= theirs["time"].values[0]
    )  # ngspice shows nothing before its first step
    for name in ("v(a)", "v(b)", "v(c)", "v(d)", "v(e)", "i(l1)"):
        expected = np.interp(ours["time"].values, theirs["time"].values, theirs[name].values)
        full = np.abs(expected).max() if name[0] == "i" else 2.0
        assert np.abs(ours[name].values - expected).max() < 1e-4 * full, name


def test_initial_conditions_held_during_the_operating_point():
    """`.ic` without `uic`: nodes are held for the operating point and then released."""
    result = simulate_deck(read(UIC.replace(" uic", "").replace(" ic=1.5", "").replace(" ic=2m", "")), "both")
    assert result.agreements[0].error < 1e-4
    start = result.datasets[0].isel(time=0)
    assert float(start["v(a)"]) == pytest.approx(0.7, abs=1e-2)


def test_differences_count_in_either_direction():
    """Over the largest value of any node that both have."""
    ours = xr.Dataset({"v(a)": ("time", [1.0, 1.6]), "v(b)": ("time", [0.0, 4.0]), "v(c)": ("time", [9.0, 9.0])})
    theirs = xr.Dataset({"v(a)": ("time", [1.0, 2.0]), "v(b)": ("time", [0.2, 4.0])})
    error, variable = _worst(ours, theirs, "v(")
    assert error == pytest.approx(0.1)
    assert variable == "v(a)"
    error, variable = _worst(2 * theirs - ours, theirs, "v(")
    assert error == pytest.approx(0.1)
    assert variable == "v(a)"


def test_a_sweep_goes_on_where_its_branch_ends():
    """v^3 - v = I folds back at I = 2 / sqrt(27): continuation finds the other branch, and the sweep goes on there."""
    cubic = "* fold\nI1 0 a 0\nB1 a 0 I=v(a)*v(a)*v(a)-v(a)\n.dc I1 -1 1 0.05\n.end\n"
    (swept,) = run_file(read(cubic))
    drive, v = np.arange(-20, 21) * 0.05, swept["v(a)"].values
    np.testing.assert_allclose(v**3 - v, drive, atol=1e-12)
    assert (np.sign(v) == np.where(drive < 2 / 27**0.5, -1, 1)).all()
