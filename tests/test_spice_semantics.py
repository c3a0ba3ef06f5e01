"""Our reading of decks, written in our words, against ngspice's reading of the decks as they are."""

import subprocess

import numpy as np
import pytest

from analogep.netlist.spice.raw import read_raw
from analogep.netlist.spice.read import read
from analogep.netlist.spice.write import write_file
from analogep.simulate.ngspice import find_ngspice

PARAMETERS = (
    "2^3^2 -2^2 (-2)^3 2^-3^2 2*-3^2 1+-3^2 2^-2^-2 -(-2)^2 1?-2^2:3 !1+1 -1&&1 5%3*2 2*5%3 7\\2*2 pow(-2,3) "
    "pwr(-2,2) nint(2.5) nint(3.5) int(-2.7) 1<2<3 1<>2 1>0?5:6+1 sqr(-3) arctan(1) ternary_fcn(0,2,3) 3!=3!=0 "
    "1e3k 2MEG 3.3u --3 2--3 min(3,1)+max(1,2) log(2) ln(2) log10(2) sgn(-3) floor(-2.7) ceil(-2.7)"
)
DECKS = {
    "overrides and defaults": """
.param w=50
.subckt s p w=1 l={w*2} PARAMS: z=3
.param q={l+z}
v1 p 0 {q}
.ends
xo a s w={w+1} z=4
xp b s
xq c s params: w=2
r1 a 0 1
r2 b 0 1
r3 c 0 1
""",
    "names are looked up where a subcircuit is used": """
.param g=1
.subckt inner p
v1 p 0 {g+loc}
.ends
.subckt outer p loc=5
.param g=100
x1 p inner
.ends
.param loc=1000
xo a outer loc=7
r1 a 0 1
""",
    "local definitions": """
.model rm r(r=5)
.subckt s a p=7
.model rm r(r={p})
.subckt u b
i1 b 0 5
.ends
x1 a u
r1 a 0 rm
.ends s
.subckt u a
i1 a 0 1
r1 a 0 rm
.ends
x1 b s
x2 c u
x3 d s p=9
""",
    "global nodes and multipliers": """
.global vdd
v1 vdd 0 3
.subckt s a
r1 a vdd 1
r2 a n 2
r3 n 0 3
.ends
x1 b s m=2
r2 b 0 1 tc=0.1 0.01 temp=37
r3 b 0 3 tc1=0.5 dtemp=1 scale=2
i1 0 b 0.5 m=3
""",
    "polynomials, tables and functions": """
.param g=3
.func ff(x,y) {x*y+g}
v1 1 0 2
v2 2 0 3
r0 1 0 1
e1 a 0 poly(2) 1 0 2 0 10 1 2 3 4 5 6 7
r1 a 0 1
e2 b 0 poly(1) 1 0 7
r2 b 0 1
b1 c 0 v=pwl(v(1), 0,0, 1,10, 1.5,40)
r3 c 0 1
h2 d 0 poly(2) v1 v2 1 2 3
r4 d 0 1
f2 e 0 poly(1) v1 1 2
r5 e 0 1
f3 f 0 v1 2 m=3
r6 f 0 1
e3 g 0 table {v(1)} = (0,0) (1,10)
r7 g 0 1
b2 h 0 v={g*ff(v(1),i(v1))}-2^2+pow(-2,3)*{2^-3^2}
r8 h 0 1
g1 i 0 1 0 2 m=3
r9 i 0 1
g2 j 0 cur='v(1)*3'
r10 j 0 1
b3 k 0 i=v(1) m=3
r11 k 0 1
b4 l 0 v=nint(2.5)+min(max(v(1),0),1)+ternary_fcn(v(1)>1,2,3)+u(0)
r12 l 0 1
""",
    "parameters": "".join(f"v{k} n{k} 0 {{{text}}}\nr{k} n{k} 0 1\n" for k, text in enumerate(PARAMETERS.split())),
}


def voltages(folder, text: str) -> dict[str, float]:
    """Operating point by ngspice."""
    (folder / "deck.cir").write_text(text)
    command = [find_ngspice(), "-b", "-n", "-r", "out.raw", "deck.cir"]
    subprocess.run(command, cwd=folder, capture_output=True, timeout=60, check=False)
    data = read_raw(folder / "out.raw")[0].data
    return {name: float(value[0]) for name, value in data.items() if name.startswith("v(") and "_int" not in name}


@pytest.mark.spice
@pytest.mark.parametrize("body", DECKS.values(), ids=DECKS.keys())
def test_operating_points(body, tmp_path):
    text = f"a title\n{body}\n.op\n.end\n"
    expected = voltages(tmp_path, text)
    found = voltages(tmp_path, write_file(read(text)))
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, err_msg=name)
