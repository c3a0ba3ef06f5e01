"""How alpha of any circuit depends on its conductances: a product of the circuit's mode and its twin's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from analogep.errors import NetlistError
from analogep.netlist._types import Parameters, Voltages
from analogep.simulate.circuit import Circuit


def abscissa_slope(
    circuit: Circuit, v: Voltages, x: Voltages, theta: Parameters
) -> tuple[float, dict[str, np.ndarray]]:
    """alpha(J) at a state, and its slope in every programmable array; nonlinear cells keep their slopes.

    With G xi = -s C xi and eta^H G = -s eta^H C, ds = -eta^H dG xi / (eta^H C xi): at each device the mode of the
    circuit at its source times the mode of the twin at its sink, which is the form of every local update.

    Parameters
    ----------
    circuit : every array pushes into states (for a compiled circuit: level `parasitic`).
    v : state voltages; x : input voltages; theta : conductances (siemens).

    Returns
    -------
    alpha (1/s), and d alpha / d theta for each array (1/(s S)).

    Raises
    ------
    NetlistError
        If an array pushes into a driven node, at which no mode can be read.
    """
    arrays = [(name, element) for element in circuit.netlist if (name := element.array)]
    for name, element in arrays:
        if driven := sorted(set(element.drives) - set(circuit.states)):
            raise NetlistError(
                f"array {name!r} pushes into {driven[0]!r}, which is no state; compile at level 'parasitic'"
            )
    G, C = np.asarray(circuit.conductance(v, x, theta)), circuit.capacitances
    values, left, right = scipy.linalg.eig(-G / C[:, None], left=True)
    k = int(np.argmax(values.real))
    xi, eta = right[:, k], left[:, k] / C  # J^H y = conj(s) y, so eta = y / C is the twin's mode
    scale = eta.conj() @ (C * xi)

    def at_all_buses(mode: np.ndarray) -> dict[str, jax.Array]:
        """The small signal at every bus, driven ones included."""
        along = circuit.unflatten(jnp.asarray(mode))
        rest = {bus: jnp.asarray(v[bus]) for bus in circuit.states}
        return jax.jvp(lambda at: circuit.voltages(at, x, theta), (rest,), (along,))[1]

    source = [at_all_buses(part) for part in (xi.real, xi.imag)]
    sink = [circuit.unflatten(jnp.asarray(part)) for part in ((eta / scale.conj()).real, (eta / scale.conj()).imag)]
    slopes: dict[str, np.ndarray] = {}
    for name, element in arrays:
        # Re(conj(eta) xi) = real real + imaginary imaginary; d(leaving current)/dg is what local_product multiplies
        real, imaginary = (np.asarray(element.local_product(a, b)) for a, b in zip(source, sink, strict=True))
        slopes[name] = slopes.get(name, np.zeros(())) - real - imaginary
    return float(values[k].real), slopes
