"""circuits/ekv.lib against its equation: in ngspice, and read by our reader."""

import re
from pathlib import Path

import numpy as np
import pytest

from analogep.netlist.spice.read import read
from analogep.simulate.ngspice import run_deck
from analogep.simulate.nodal.run import FileRun

CIRCUITS = Path(__file__).parents[1] / "circuits"
GATE = np.linspace(-0.2, 2.0, 111)


def equation(kp, lam, vg=GATE, vd=1.2, vs=0.1, w=10e-6, length=1e-6, vto=0.5, n=1.3, ut=25.865e-3):
    """Enz, Krummenacher and Vittoz (1995)."""

    def forward(v):
        return np.logaddexp(0, v / (2 * ut)) ** 2

    pinch = (vg - vto) / n
    current = 2 * n * kp * w / length * ut**2 * (forward(pinch - vs) - forward(pinch - vd))
    return current * (1 + lam * abs(vd - vs))


def deck():
    bench = (CIRCUITS / "ekv.cir").read_text()
    text = bench.replace(".include ekv.lib\n", (CIRCUITS / "ekv.lib").read_text())
    return re.sub(r"^\.print.*\n", "", text, flags=re.MULTILINE)


def check(nmos, pmos):
    np.testing.assert_allclose(-nmos, equation(200e-6, 0.0), rtol=1e-6, atol=1e-17)
    np.testing.assert_allclose(pmos, equation(80e-6, 0.05), rtol=1e-6, atol=1e-17)


@pytest.mark.spice
def test_ekv_in_ngspice():
    data = run_deck(deck())[0].data
    check(data["i(vd)"], data["i(edp)"])


def test_ekv_as_we_read_it(quick_compilation):
    file = read(deck())
    found = FileRun(file).run(file.analyses[0])
    check(found["i(vd)"].values, found["i(edp)"].values)


def test_limits_of_the_equation():
    """Weak inversion is exponential with slope n U_T, saturation the square law."""
    weak = equation(2e-4, 0.0, vg=np.array([0.0, 0.1]), vs=0.0)
    assert np.log(weak[1] / weak[0]) == pytest.approx(0.1 / (1.3 * 25.865e-3), rel=0.01)
    strong = equation(2e-4, 0.0, vg=np.array(2.0), vd=5.0, vs=0.0)
    assert strong == pytest.approx(1.3 * 2e-3 / 2 * (1.5 / 1.3) ** 2, rel=1e-6)
