"""A compiled transformer, and its gradient by three local estimators."""

import numpy as np

from analogep.compile.stages import to_conductances
from analogep.ep import oracle
from analogep.ep.estimators import Estimators
from analogep.ep.fidelity import fidelity
from analogep.learning.nudge import rails
from analogep.learning.phases import CircuitPhases
from analogep.learning.rule import Phase
from analogep.spec import load_spec
from analogep.training.problem import build

small = ["tokens=4", "channels=8", "ffn=8"]
problem = build(load_spec(overrides=[f"model.{setting}" for setting in small]))
compiled = problem.compiled("parasitic")  # a Compiled: netlist, model, scale
batch = problem.batch()
print(compiled.netlist.title, "| states:", sum(bus.nodes for bus in compiled.netlist.buses.values()), "nodes")

estimators = Estimators(CircuitPhases(compiled, problem.settle))
x = rails(batch, compiled.scale.volts)
theta = to_conductances(problem.weights, compiled.scale)
names, beta = ("vector_field_ep", "asym_ep", "twin"), 1e-3
runs = estimators.run(names, x, theta, beta)

z = runs[Phase.FREE].settled.v["z"] / compiled.scale.volts
exact = oracle.implicit(compiled.model, problem.weights, z, batch.inputs, batch.targets, batch.weights)
for name in names:
    estimate = estimators.gradient(name, runs, beta)  # dL/dg in 1/siemens, one array per crossbar
    weights = {array: np.asarray(g) * compiled.scale.siemens for array, g in estimate.gradient.items()}
    total, _ = fidelity(weights, exact.gradient)
    print(f"{name:16s} cosine {total.cosine:+.6f}  relative error {total.relative_error:.1e}")
