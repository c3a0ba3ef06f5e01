"""What a block costs and how well it learns as a function of its knobs, with derivatives through the simulator.

A design is simulated as it is: a transient from 0 V, then Newton steps to rest. What follows is differentiated forward:
the state at rest by the implicit function theorem, as one more Newton step, whose derivative is dv = -G^-1 di; the
settling time likewise, as one Newton step in time to where the farthest node enters half an LSB, whose derivative is
that of the transient over its slope there. No mode is told apart from the others, so complex pairs need no care; where
another node becomes the last one the derivative jumps.

The cosine is that of the adjoint (`reversed`) estimator with the exact gradient at the conductances as they are: a
ceiling from a few fixed draws of the devices' read noise, which stays through a step and no repeats average, and the
law of `repeats` for sampled thermal noise and the converter.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from analogep.codesign.cost import static_power, stored_energy, token_energy, wire_energy
from analogep.codesign.hardware import Hardware
from analogep.codesign.knobs import Knobs
from analogep.codesign.operating import POINTS, OperatingPoint, full_scale, last_crossing
from analogep.codesign.read_gradient import gradient_variance
from analogep.compile.transformer import LOGITS, PREDICTION
from analogep.ep.estimators import TWIN
from analogep.errors import ConvergenceError
from analogep.learning.nudge import rails
from analogep.learning.phases import CircuitPhases
from analogep.learning.reversal import reversed_network
from analogep.learning.rule import Phase, local_gradient
from analogep.models.objective import Batch, cross_entropy
from analogep.netlist._types import Array, Parameters, Voltages
from analogep.netlist.element import HELD
from analogep.simulate.cascade import controller, solver
from analogep.simulate.circuit import Circuit
from analogep.simulate.linear import linear_response
from analogep.simulate.settle import packed_rate
from analogep.technology import apply, from_pairs, named_key, to_pairs

OBJECTIVES = {"energy_per_token": "J", "cosine_error": "1", "settling_time": "s", "loss": "nats"}
"""What a design is judged by, and units: of inference and of learning, 1 - cosine of the gradient among them."""
HORIZON = 60.0
"""Longest transient, in the slower of the time constants of states and cells."""
TOLERANCE = 1e-9
"""Relative residual that counts as rest."""
DRAWS = 4
"""Draws of read noise, the same for every design."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One design.

    Attributes
    ----------
    logs : logarithms of the knobs.
    objectives : by name, SI units; not-a-number where the circuit does not settle.
    slopes : derivative of each by each logarithm [objectives, knobs], if it was asked for.
    settled : whether there are numbers at all; `reason` says why not.
    seconds : that the evaluation took.
    """

    logs: np.ndarray
    objectives: Mapping[str, float]
    slopes: np.ndarray | None
    settled: bool
    reason: str
    seconds: float

    def slope(self, name: str) -> np.ndarray:
        """Derivative of one objective by the logarithms of the knobs."""
        assert self.slopes is not None
        return self.slopes[list(OBJECTIVES).index(name)]


class _Rest(NamedTuple):
    """What is known of a design before anything is differentiated."""

    v: dict[str, Array]
    residual: Array
    times: Array
    away: Array
    half_lsb: Array
    drawn: dict[str, Array]


class Designs:
    """A block whose knobs can be turned, simulated with the first sample of a batch; compiled once for all designs.

    Parameters
    ----------
    phases : of the block as it is.
    knobs : of that block.
    batch : whose first sample is settled for.
    hardware : what it is built of. Mismatch, offsets, bits of the nudge and a settling time that is given are not
        looked at: the error budget of the chosen design does.
    seed : of the draws of read noise.
    """

    def __init__(
        self, phases: CircuitPhases, knobs: Knobs, batch: Batch, *, hardware: Hardware, seed: int = 0
    ) -> None:  # fmt: skip
        self.phases, self.knobs, self.hardware = phases, knobs, hardware
        self.circuit = phases.circuit
        self.order = self.circuit.settled  # found while capacitors are numbers; copies of the circuit have it
        self.turned = Circuit(reversed_network(phases.netlist), phases.scale, forward_only=True)
        self.x = {name: jnp.asarray(v[0]) for name, v in rails(batch, phases.scale.volts).items()}
        self.reading = hardware.device.reading()
        noisy = len(tuple(self.reading)) > 0
        self.keys = jax.random.split(named_key(jax.random.key(seed), "reading"), DRAWS if noisy else 1)
        self.noisy = noisy

    def evaluate(self, logs: np.ndarray, *, gradient: bool = False) -> Evaluation:
        """Simulate one design.

        Parameters
        ----------
        logs : logarithms of the knobs, in the order of `knobs.names`.
        gradient : whether to differentiate as well, which takes a forward tangent for each knob.
        """
        begin, logs = time.perf_counter(), np.array(logs, float)  # solvers write into theirs again
        rest = self._simulate(jnp.asarray(logs))
        reason, found, slopes = self._crossing(rest), None, None
        if isinstance(reason, float):
            program = self._with_slopes if gradient else self._measures
            result = jax.device_get(program(jnp.asarray(logs), rest.v, rest.drawn, jnp.asarray(reason)))
            slopes, found = result if gradient else (None, result)
            reason = "" if np.all(np.isfinite(found)) else "an objective is not a number"
        values = [float("nan")] * len(OBJECTIVES) if found is None else [float(value) for value in found]
        named = dict(zip(OBJECTIVES, values, strict=True))
        return Evaluation(logs, named, slopes, reason == "", reason, time.perf_counter() - begin)

    def _crossing(self, rest: _Rest) -> float | str:
        """Settling time to the accuracy of samples (seconds), or why there is none."""
        if not float(rest.residual) <= TOLERANCE:
            return f"no state at rest: relative residual {float(rest.residual):.2e}"
        try:
            return last_crossing(np.asarray(rest.times), np.asarray(rest.away), float(rest.half_lsb), "the horizon")
        except ConvergenceError as error:
            return str(error)

    def _turn(self, logs: Array) -> tuple[Circuit, dict[str, Array]]:
        """The circuit with the capacitors of a design, and theta with its conductances."""
        values = self.knobs.values(logs)
        bent = copy.copy(self.circuit)  # lives in this trace only
        bent.capacitance = self.knobs.farads(values)
        return bent, self.knobs.theta(values)

    def _transient(self, bent: Circuit, theta: Parameters, times: Array) -> tuple[Array, Array]:
        """Packed states at `times` (seconds, rising), and dv/d(t/tau) at the last."""
        tau, rtol = bent.scale.seconds, self.phases.options.rtol
        term = packed_rate(bent, still=True)
        done = diffrax.diffeqsolve(
            term,
            solver("auto", bent, rtol=rtol, still=True),
            t0=0.0,
            t1=times[-1] / tau,
            dt0=1e-3,
            y0=bent.pack(bent.zeros()),
            args=(self.x, theta, None),
            saveat=diffrax.SaveAt(ts=times / tau),
            stepsize_controller=controller(bent, rtol),
            max_steps=self.phases.options.max_steps,
            throw=False,
            adjoint=diffrax.ForwardMode(),
        )
        assert done.ys is not None
        return done.ys, term.vf(times[-1] / tau, done.ys[-1], (self.x, theta, None))

    @partial(jax.jit, static_argnames="self")
    def _simulate(self, logs: Array) -> _Rest:
        bent, theta = self._turn(logs)
        values = self.knobs.values(logs)
        slowest = jnp.maximum(
            values["state_farads"] / values["siemens"], values["cell_farads"] / values["cell_siemens"]
        )
        times = jnp.asarray(np.concatenate([[0.0], np.geomspace(1e-2, HORIZON, POINTS)])) * slowest
        waves, v, residual = self._rest(bent, theta, times)
        away = jnp.max(jnp.abs(waves - bent.pack(v)), axis=1)
        half_lsb = jnp.max(jnp.abs(bent.pack(v))) / 2**self.hardware.adc_bits
        drawn = {bus: value[None] for bus, value in v.items()}
        if self.noisy:

            def settle(key: Array) -> tuple[dict[str, Array], Array]:
                waves, v, residual = self._rest(bent, self._read(theta, key), times[-2:])
                near = jnp.max(jnp.abs(waves[-1] - bent.pack(v))) <= half_lsb
                return v, jnp.where(near, residual, jnp.inf)

            drawn, residuals = jax.lax.map(settle, self.keys)
            residual = jnp.maximum(residual, jnp.max(residuals))
        return _Rest(v, residual, times, away, half_lsb, drawn)

    def _rest(self, bent: Circuit, theta: Parameters, times: Array) -> tuple[Array, dict[str, Array], Array]:
        """A transient from 0 V, the state at rest near its end, and what is left there of the currents."""
        waves, _ = self._transient(bent, theta, times)
        v = jax.lax.fori_loop(0, 3, lambda _, v: self._polished(v, theta), bent.unpack(waves[-1]))
        return waves, v, bent.residual(bent.pack(bent.current(v, self.x, theta)), bent.pack(v))

    def _polished(self, v: Voltages, theta: Parameters) -> dict[str, Array]:
        """One Newton step; from a state at rest it is the implicit function theorem."""
        leaving = self.circuit.current(v, self.x, theta)
        # at rest the solve's own derivative meets a current of zero: only that of the current counts
        solve = linear_response(self.circuit, v, self.x, jax.lax.stop_gradient(dict(theta)))
        moved = solve({bus: -i for bus, i in leaving.items()})
        return {bus: v[bus] + moved[bus] for bus in moved}

    @partial(jax.jit, static_argnames="self")
    def _measures(self, logs: Array, v: Voltages, drawn: Voltages, crossing: Array) -> Array:
        bent, theta = self._turn(logs)
        v = self._polished(v, theta)
        voltages = bent.voltages(v, self.x, theta)
        point = OperatingPoint(self.phases.compiled, bent, self.x, theta, voltages, {})
        settling = self._settling(bent, theta, v, crossing, full_scale(point) / 2**self.hardware.adc_bits)
        per_settle = static_power(point, self.hardware).total * settling + stored_energy(point)
        per_settle += wire_energy(point, self.hardware.wires.word_farads)
        volts = bent.scale.volts
        found = {
            "energy_per_token": token_energy(point, self.hardware, per_settle),
            "cosine_error": self._cosine_error(bent, theta, v, drawn),
            "settling_time": settling,
            "loss": cross_entropy(voltages[LOGITS] / volts, self.x["target"] / volts, self.x["weight"] / volts),
        }
        return jnp.stack([found[name] for name in OBJECTIVES])

    @partial(jax.jit, static_argnames="self")
    def _with_slopes(self, logs: Array, v: Voltages, drawn: Voltages, crossing: Array) -> tuple[Array, Array]:
        def twice(logs: Array) -> tuple[Array, Array]:
            found = self._measures(logs, v, drawn, crossing)
            return found, found

        return jax.jacfwd(twice, has_aux=True)(logs)

    def _settling(self, bent: Circuit, theta: Parameters, v: Voltages, crossing: Array, half_lsb: Array) -> Array:
        """Time at which the farthest node enters `half_lsb`: a Newton step in time from `crossing`."""
        waves, rate = self._transient(bent, theta, jnp.stack([0.5 * crossing, crossing]))
        error = waves[-1] - bent.pack(v)
        last = jnp.argmax(jnp.abs(error))
        sign = jnp.sign(error[last])
        falling = jax.lax.stop_gradient(sign * rate[last] / bent.scale.seconds)
        return crossing - (sign * error[last] - half_lsb) / falling

    def _read(self, theta: Parameters, key: Array) -> dict[str, Array]:
        """theta with the devices as they are read once."""
        arrays = {name: theta[name] for name in self.phases.netlist.arrays}
        pairs = to_pairs(arrays, self.hardware.device)
        return {**theta, **from_pairs(apply(self.reading, pairs, key))}

    def _cosine_error(self, bent: Circuit, theta: Parameters, v: Voltages, drawn: Voltages) -> Array:
        """1 - cosine of a measured gradient, mean over the draws of read noise."""
        truth, variance = self._gradient(bent, theta, v)
        if not self.noisy:
            return 1 - 1 / jnp.sqrt(1 + variance / _dot(truth, truth))

        def draw(given: tuple[Array, dict[str, Array]]) -> Array:
            key, at = given
            read = self._read(theta, key)
            found, variance = self._gradient(bent, read, self._polished(at, read))
            return 1 - _dot(found, truth) / jnp.sqrt(_dot(truth, truth) * (_dot(found, found) + variance))

        return jnp.mean(jax.lax.map(draw, (self.keys, dict(drawn))))

    def _gradient(self, bent: Circuit, theta: Parameters, v: Voltages) -> tuple[dict[str, Array], Array]:
        """Gradient of the reversed estimator (volts^2), and summed variance of its entries as they are read."""
        hardware, siemens = self.hardware, theta[f"{LOGITS}.load.siemens"]  # the nudge's stage is as strong as its load
        voltages = bent.voltages(v, self.x, theta)
        inputs = {**self.x, **{HELD + bus: value for bus, value in voltages.items()}}
        error = (self.x["weight"] / bent.scale.volts)[..., None] * (self.x["target"] - voltages[PREDICTION])
        rest = {bus: voltages[bus] for bus in self.turned.states}
        # the reversed circuit is linear about the held state: +beta and -beta move it by the same
        moved = linear_response(self.turned, rest, inputs, theta)({LOGITS: siemens * error})
        netlist = self.phases.netlist
        gradient = local_gradient(TWIN, netlist, {Phase.FREE: voltages, Phase.TWIN: moved}, 1.0, 1.0)
        contrast = {bus: 2 * hardware.beta * move for bus, move in moved.items()}
        noise = gradient_variance(netlist, voltages, contrast, bent.capacitance, hardware)
        return gradient, noise / (2 * hardware.beta) ** 2


def _dot(first: Parameters, second: Parameters) -> Array:
    return sum((jnp.vdot(g, second[name]) for name, g in first.items()), start=jnp.zeros(()))
