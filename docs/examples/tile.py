"""A crossbar tile with resistive wires: its effective matrix, a gradient through it, and a check at every node."""

import jax
import jax.numpy as jnp
import numpy as np

from analogep.netlist.elimination import effective_matrix
from analogep.netlist.wires import Wires
from analogep.simulate.tile import report

g = np.random.default_rng(0).uniform(1e-6, 1e-4, (64, 64))  # siemens, [columns, rows]
wires = Wires(word_ohms=1.0, bit_ohms=1.0, driver_ohms=50.0)
matrix = effective_matrix(g, wires)  # ampere in column j for 1 V at row k, siemens
print(f"largest loss: {100 * float(jnp.max(1 - matrix / g)):.1f} % of a conductance")

slope = jax.grad(lambda g: jnp.sum(effective_matrix(g, wires)))(jnp.asarray(g))
print(f"sum of all currents per conductance: {float(slope.min()):.3f} ... {float(slope.max()):.3f}, 1 without wires")

checked = report(g, wires)
print(f"KCL {checked.kcl:.0e}, reciprocity {checked.mismatch:.0e}, condition {checked.condition:.0e}")
