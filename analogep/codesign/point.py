"""The verdict at one point of a map, in about a second: many points share one compiled program.

A circuit whose conductances are all multiplied by one number has the same voltages, at times divided by it. So every
point is simulated at one reference conductance, whatever its devices are: what they hold and how they are read is
drawn in their own siemens and enters as numbers, like damping and asymmetry. Times and energies are counted in the
point's own units.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogep.codesign.assess import DENSE, fitted_scale
from analogep.codesign.budget import Budget
from analogep.codesign.cost import costs
from analogep.codesign.feasibility import Limits, Verdict, judge, refuse_contradictions
from analogep.codesign.hardware import Hardware
from analogep.codesign.learning_step import RESIDUAL, LearningStep, Outcome
from analogep.codesign.learning_step import _name as effect_name
from analogep.codesign.operating import OperatingPoint, full_scale, operating_point, settling_seconds
from analogep.compile import compile_transformer
from analogep.compile.stages import to_conductances
from analogep.compile.transformer import LOGITS, STATE
from analogep.diagnostics import panel
from analogep.diagnostics.analyzed import Analyzed
from analogep.ep import oracle
from analogep.errors import SpecError
from analogep.learning.phases import over_samples
from analogep.learning.readout import cut_off
from analogep.learning.rule import Phase
from analogep.models.objective import Batch, cross_entropy
from analogep.netlist._types import Array, Parameters, Voltages
from analogep.simulate.circuit import Circuit
from analogep.simulate.settle import settle_near
from analogep.spec import Spec, Technology
from analogep.technology import Devices, apply, named_key, preset, to_pairs
from analogep.training.problem import Problem
from analogep.training.shared import Dialed, Shared, share
from analogep.units import Scale

SIEMENS = 1e-5
"""Conductance of a unit in which every point is simulated."""
STABILITY = ("spectral_abscissa", "numerical_abscissa", "peak_growth", "rho_sinv_a", "hopf_frequency")
"""Numbers of the panel, by the names of `analogep diagnose`."""
COUNTED = (
    "settling_time", "energy_per_token", "energy_per_learned_token", "latency_per_token", "latency_per_step", "area",
    "power", "peak_read_volts", "nudge_to_noise",
)  # fmt: skip
"""Costs that a point reports."""
LIMITS = (*(field.name for field in fields(Limits)), "read_volts", "settled_chips")
"""What may bind, in the order of the numbers of `binding`."""
HASTY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""For programs that would take far longer to compile than all points of a map take to run."""
KEPT = 4
"""Learning steps, and circuits at rest, that a process keeps."""


class AtRest(NamedTuple):
    """What the technologies of a map have in common at one damping and asymmetry, at the reference scale.

    Attributes
    ----------
    settling : time to half an LSB (tau).
    """

    operating: OperatingPoint
    stability: dict[str, float]
    settling: float


class OnChips(NamedTuple):
    """What came of a step on every chip [chips], as `Outcome` has it for one."""

    angle: np.ndarray
    loss: np.ndarray
    residual: np.ndarray


class Drawn(NamedTuple):
    """Chips at random, leading axis chips; conductances as the circuit sees them, in units of the reference scale.

    Attributes
    ----------
    devices : pairs as they were written (siemens).
    truth, theta : conductances as they are, and as they are read in the free phase.
    later : in the two nudged phases [chips, 2, ...].
    """

    devices: Devices
    truth: Devices
    theta: Devices
    later: Devices


class SharedStep(LearningStep):
    """A learning step with every imperfection at once, whose devices, dials and time are numbers.

    It gives what `LearningStep.evaluate` gives with all switches on. It is built on devices without limits; those of a
    point are drawn apart from it. Small programs that are called in turn compile far faster than one for all.
    """

    def draw(self, hardware: Hardware, pairs: Devices, scale: Scale, horizon: float, keys: Array) -> Drawn:
        """Chips of a point, by its own devices and in its own units."""
        own = copy.copy(self)
        own.hardware, own.pairs, own.scale, own.horizon = hardware, pairs, scale, horizon
        own.written = {effect_name(effect): effect for effect in hardware.device.written()}
        own.reading = hardware.device.reading()
        own.between, own.gap = own._slow_effects(), own._gap()
        on, ratio = dict.fromkeys(own.names, True), self.scale.siemens / scale.siemens

        def one(key: Array) -> Drawn:
            devices = own._devices(on, named_key(key, "chip"))
            read = apply(own.reading, devices, named_key(key, "reading"))
            truth, theta = own._signed(on, devices), own._signed(on, read)
            later = own._later(on, read, named_key(key, "between"))
            if later is None:
                later = {name: jnp.stack([g, g]) for name, g in theta.items()}
            return Drawn(devices, *jax.tree.map(lambda g: ratio * g, (truth, theta, later)))

        return jax.vmap(one)(keys)

    @partial(jax.jit, static_argnames="self", compiler_options=HASTY)
    def signals(
        self, x: Voltages, numbers: Parameters, drawn: Drawn, horizon: Array, key: Array
    ) -> dict[Phase, dict[str, Array]]:
        """Voltages of the phases of one sample on one chip, when their time is over."""
        own = copy.copy(self)
        own.horizon = horizon
        circuit, theta = self.phases.circuit, {**numbers, **drawn.theta}
        early = settle_near(circuit, x, theta, options=cut_off(horizon, self.phases.options))
        free = circuit.voltages(early.v, x, theta)
        copies = self._copies(self.on, named_key(key, "copies"))

        def turn(later: Devices, sign: Array) -> dict[str, Array]:
            return own._nudged(free, x, theta, {**numbers, **copies, **later}, sign, self.on)

        both = jax.vmap(turn)(drawn.later, jnp.array([1.0, -1.0]))
        plus, minus = ({bus: v[k] for bus, v in both.items()} for k in (0, 1))
        return {Phase.FREE: free, Phase.REVERSED_PLUS: plus, Phase.REVERSED_MINUS: minus}

    @partial(jax.jit, static_argnames="self", compiler_options=HASTY)
    def angle(
        self, signals: dict[Phase, Voltages], devices: Devices, reference: Mapping[str, Array], key: Array
    ) -> Array:
        """1 - cosine of the gradient that is read of the phases."""
        return 1 - self._cosine(self.on, devices, self._measured(self.on, signals, key), reference)

    @property
    def on(self) -> dict[str, bool]:
        """All imperfections."""
        return dict.fromkeys(self.names, True)


def measure(spec: Spec) -> dict[str, float]:
    """What `analogep feasibility` finds at one point, with all imperfections at once and no shares of each.

    Parameters
    ----------
    spec : at level `parasitic`; `feasibility.chips` chips are drawn.

    Returns
    -------
    Numbers of the panel, costs, `cosine`, `loss_change`, `settled_chips`; for every limit that is asked for its
    margin `margin_<limit>`; `margin`, the smallest, `binding`, the number of its limit in `LIMITS`, and `feasible`.
    Of a circuit that does not settle `residual` and `converged` alone.

    Raises
    ------
    SpecError
        For contradictory limits, weights that do not fit the devices, or another level.
    ConvergenceError
        If the circuit comes to rest too late.
    """
    if spec.compile.level != "parasitic":
        raise SpecError(f"feasibility: compile.level = {spec.compile.level!r}; a map needs 'parasitic'")
    device = preset(spec.technology.device).at(**spec.technology.settings)
    hardware, limits = Hardware(device=device, **spec.feasibility.hardware), Limits(**spec.feasibility.limits)
    at = share(at_reference(spec))
    rows = max(shape[1] for shape in at.problem.model.weight_shapes.values())
    refuse_contradictions(limits, hardware, rows=rows, tokens=at.problem.model.tokens)
    free = over_samples(at.phases.free, (at.rails,), at.theta)
    residual, settled = float(jnp.max(free.settled.residual)), bool(jnp.all(free.settled.converged))
    if not settled:
        return {"residual": residual, "converged": False}
    loss = _loss(free.voltages[LOGITS] / at.circuit.scale.volts, at.batch)
    rest = _at_rest(at, hardware)
    own = replace(at.problem, spec=spec)
    scale = fitted_scale(own, hardware)
    counted = costs(
        _in_units_of(scale, own, rest.operating), hardware,
        alpha=rest.stability["spectral_abscissa"], settling=rest.settling * scale.seconds,
    )  # fmt: skip
    horizon = (hardware.settle_seconds or counted["settling_time"]) / scale.seconds
    found = learn(at, hardware, scale, horizon)
    there = found.residual <= RESIDUAL
    budgets = {"angle": _whole(found.angle, there, 0.0), "loss": _whole(found.loss, there, float(loss))}
    verdict = judge(limits, counted, budgets, stability=rest.stability, hardware=hardware)
    out = {**{name: rest.stability[name] for name in STABILITY}, **{name: counted[name] for name in COUNTED}}
    out |= {"siemens": scale.siemens, "loss": float(loss), "residual": residual, "settled_chips": float(there.mean())}
    if there.sum() > 1:
        out |= {"cosine": 1 - budgets["angle"].all, "loss_change": budgets["loss"].total}
    return {**out, **_margins(verdict), "converged": True}


measure.units = {  # type: ignore[attr-defined]
    **dict.fromkeys(("spectral_abscissa", "numerical_abscissa"), "1/tau"),
    **dict.fromkeys(("settling_time", "latency_per_token", "latency_per_step"), "s"),
    **dict.fromkeys(("energy_per_token", "energy_per_learned_token"), "J"),
    **dict.fromkeys(("loss", "loss_change"), "nats"),
    "hopf_frequency": "cycles/tau", "area": "m^2", "power": "W", "peak_read_volts": "V", "siemens": "S",
}  # fmt: skip
measure.words = {"binding": LIMITS, "feasible": ("no", "yes")}  # type: ignore[attr-defined]


def at_reference(spec: Spec) -> Spec:
    """The same circuit with the reference conductance and devices that do not matter."""
    technology = Technology(volts=spec.technology.volts, siemens=SIEMENS, farads=spec.technology.farads)
    return spec.model_copy(update={"technology": technology})


_rests: OrderedDict[Hashable, AtRest] = OrderedDict()
_steps: OrderedDict[Hashable, SharedStep] = OrderedDict()


def _kept(store: OrderedDict[Hashable, Any], key: Hashable, make: Callable[[], Any]) -> Any:
    """What is stored at a key, made if it is not there; the oldest ones are dropped."""
    store[key] = store.pop(key) if key in store else make()
    while len(store) > KEPT:
        store.popitem(last=False)
    return store[key]


def _at_rest(at: Shared, hardware: Hardware) -> AtRest:
    """Operating point, panel and settling time; technologies in a row find it made."""
    arrays = jax.tree.leaves((dict(at.theta), dict(at.rails)))
    key = (at.phases, hardware.beta, hardware.adc_bits, *(np.asarray(array).tobytes() for array in arrays))

    def make() -> AtRest:
        point = operating_point(at.phases, at.rails, at.theta, hardware.beta)
        v = {bus: point.voltages[bus] for bus in point.circuit.states}
        large = Analyzed(point.circuit).states > DENSE
        stability = panel(point.circuit, v, dict(point.x), point.theta, horizon=None, matrix_free=large).to_dict()
        half_lsb = full_scale(point) / 2**hardware.adc_bits
        seconds = settling_seconds(point.circuit, point.x, point.theta, point.voltages, half_lsb)
        return AtRest(point, {name: float(stability[name]) for name in STABILITY}, seconds / at.circuit.scale.seconds)

    found: AtRest = _kept(_rests, key, make)
    return found


def _in_units_of(scale: Scale, problem: Problem, point: OperatingPoint) -> OperatingPoint:
    """The same voltages in the circuit of another conductance, of which power and area are counted."""
    compiled = compile_transformer(
        problem.model, problem.weights, level="parasitic", scale=scale, epsilon=problem.spec.compile.epsilon
    )
    theta = to_conductances(problem.weights, scale)
    return replace(point, compiled=compiled, circuit=Circuit(compiled.netlist, scale), theta=theta)


def learn(at: Shared, hardware: Hardware, scale: Scale, horizon: float) -> OnChips:
    """A learning step on every chip of a point.

    Parameters
    ----------
    at : the point at the reference conductance.
    scale : the point's own units.
    horizon : time of each phase (tau).

    Raises
    ------
    SpecError
        If the weights do not fit the devices.
    """
    unlimited = replace(hardware, device=preset("ideal").at(kelvin=hardware.device.kelvin), settle_seconds=None)
    weights, model, batch = at.problem.weights, at.problem.model, at.batch
    step: SharedStep = _kept(
        _steps, (at.phases, unlimited),
        lambda: SharedStep(at.phases, weights, batch, hardware=unlimited, horizon=1.0),
    )  # fmt: skip
    keys = jax.random.split(jax.random.key(at.problem.spec.seed), at.problem.spec.feasibility.chips)
    pairs = to_pairs(to_conductances(weights, scale), hardware.device)
    chips = step.draw(hardware, pairs, scale, horizon, keys)
    numbers = {name: value for name, value in at.theta.items() if name not in weights}  # of elements, such as leaks
    volts, siemens = step.scale.volts, step.scale.siemens

    def on_chip(k: int) -> Outcome:
        drawn: Drawn = jax.tree.map(lambda leaf: leaf[k], chips)
        rests = [over_samples(at.phases.free, (at.rails,), {**numbers, **g}) for g in (drawn.truth, drawn.theta)]
        residual = jnp.max(jnp.stack([jnp.where(r.settled.converged, r.settled.residual, jnp.inf) for r in rests]))
        theta = {**{name: g / siemens for name, g in drawn.truth.items()}, **Dialed.setting(model)}
        z = rests[0].settled.v[STATE] / volts
        true = oracle.implicit(Dialed.of(model), theta, z, batch.inputs, batch.targets, batch.weights).gradient
        signals = over_samples(step.signals, (at.rails,), numbers, drawn, jnp.asarray(horizon), keys[k])
        reference = {name: true[name] for name in weights}
        angle = step.angle(signals, drawn.devices, reference, keys[k])
        return Outcome(angle, _loss(signals[Phase.FREE][LOGITS] / volts, batch), residual)

    return OnChips(*(np.array(parts) for parts in zip(*map(on_chip, range(len(keys))), strict=True)))


def _loss(logits: Array, batch: Batch) -> Array:
    """Mean cross-entropy of a batch (nats)."""
    return jnp.mean(jax.vmap(cross_entropy)(logits, jnp.asarray(batch.targets), jnp.asarray(batch.weights)))


def _whole(values: np.ndarray, there: np.ndarray, none: float) -> Budget:
    """A budget of all imperfections together [chips], from the chips that settled."""
    kept = values[there]
    mean, spread = (float(kept.mean()), float(kept.std(ddof=1))) if len(kept) > 1 else (np.nan, np.nan)
    total, error = np.array([mean - none]), np.array([spread / np.sqrt(len(kept) or 1)])
    return Budget(("all",), none, mean, total, total, error, spread, len(kept), int(np.sum(~there)))


def _margins(verdict: Verdict) -> dict[str, float]:
    """A verdict in numbers."""
    binding = verdict.binding
    return {
        **{f"margin_{check.name}": check.margin for check in verdict.checks}, "margin": binding.margin,
        "binding": float(LIMITS.index(binding.name)), "feasible": float(verdict.passed),
    }  # fmt: skip
