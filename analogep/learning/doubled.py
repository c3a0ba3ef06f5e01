"""Two coupled copies of a system whose saddle holds the gradient: Dyadic EP."""

from __future__ import annotations

from collections.abc import Callable

from analogep.learning.altered import Injection
from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.simulate.linear import Solve
from analogep.simulate.system import System

Transposed = Callable[[Voltages, Voltages, Voltages, Parameters], Currents]
"""(operating point, displacement w, inputs, theta) -> G^T w, the currents that leave the states."""

PLUS, MINUS = "+", "-"
"""Suffixes of the two copies' buses."""


class Doubled(System):
    """Two coupled copies v+ and v- of a system: the saddle of a scalar, whatever the asymmetry (Scurria et al. 2026).

    With the mean m = (v+ + v-) / 2 and the difference d = v+ - v-, the copies descend and ascend

        E(v+, v-) = d . i(m),      C dv+/dt = -dE/dv+,      C dv-/dt = +dE/dv-,

    so that C dm/dt = -i(m) and C dd/dt = -G(m)^T d: the mean is the circuit, the difference its adjoint about the live
    mean. It settles wherever the circuit does. In a reciprocal circuit i(m) + G d / 2 is i(v+) up to order d^2, and the
    copies do not see each other. For others the coupling is A d, the injection of AsymEP with two live copies in the
    place of a remembered v*; a substrate that realizes E itself (every device acting back on both of its ends) gives it
    without anyone knowing A.
    """

    def __init__(self, base: System, transposed: Transposed) -> None:
        self.base, self.transposed = base, transposed
        signs = (PLUS, MINUS)
        self.states = {bus + sign: shape for sign in signs for bus, shape in base.states.items()}
        self.capacitance = {bus + sign: c for sign in signs for bus, c in base.capacitance.items()}
        self.theta, self.scale = base.theta, base.scale

    def copy(self, v: Voltages, sign: str) -> dict[str, Array]:
        """One copy's voltages, under the names of the system's own states."""
        return {bus: v[bus + sign] for bus in self.base.states}

    def twice(self, v: Voltages) -> dict[str, Array]:
        """Both copies at the same voltages."""
        return {bus + sign: v[bus] for sign in (PLUS, MINUS) for bus in v}

    def split(self, nudge: Injection) -> Injection:
        """A nudge of the system, given half to one copy and half, with the other sign, to the other."""

        def inject(v: Voltages) -> Currents:
            up, down = (nudge(self.copy(v, sign)) for sign in (PLUS, MINUS))
            return {bus + PLUS: i / 2 for bus, i in up.items()} | {bus + MINUS: -i / 2 for bus, i in down.items()}

        return inject

    def inverse(self, along: Solve, back: Solve) -> Solve:
        """Solve of the pair out of one with G for the mean and one with G^T for the difference."""

        def solve(left: Currents) -> dict[str, Array]:
            buses = self.base.states
            mean = along({bus: (left[bus + PLUS] + left[bus + MINUS]) / 2 for bus in buses})
            apart = back({bus: left[bus + PLUS] - left[bus + MINUS] for bus in buses})
            up = {bus + PLUS: mean[bus] + apart[bus] / 2 for bus in buses}
            return up | {bus + MINUS: mean[bus] - apart[bus] / 2 for bus in buses}

        return solve

    def current(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> Currents:
        plus, minus = self.copy(v, PLUS), self.copy(v, MINUS)
        mean = {bus: (plus[bus] + minus[bus]) / 2 for bus in plus}
        away = {bus: plus[bus] - minus[bus] for bus in plus}
        leaving, back = self.base.current(mean, x, theta, t), self.transposed(mean, away, x, theta)
        out = {bus + PLUS: leaving[bus] + back[bus] / 2 for bus in plus}
        out |= {bus + MINUS: leaving[bus] - back[bus] / 2 for bus in plus}
        return {bus: out[bus] - (sources or {}).get(bus, 0.0) for bus in self.states}

    def voltages(
        self, v: Voltages, x: Voltages, theta: Parameters, t: Array | float = 0.0, sources: Voltages | None = None
    ) -> dict[str, Array]:
        return dict(v)
