"""Local estimators of the gradient, as programs of phases: each is a rule over signals, nothing more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from analogep.errors import SpecError
from analogep.learning.phases import PhaseRun
from analogep.learning.rule import Phase, Rule, Term, has_energy, local_gradient
from analogep.netlist._types import Array, Parameters, Voltages
from analogep.netlist.graph import Netlist

_FREE, _TWIN = Phase.FREE, Phase.TWIN


def _contrast(plus: Phase, minus: Phase) -> tuple[Term, ...]:
    """Difference of two nudged phases, with the drive side held at its free value."""
    return (Term(1.0, _FREE, plus), Term(-1.0, _FREE, minus))


VECTOR_FIELD_EP = Rule("vector_field_ep", _contrast(Phase.NUDGED_PLUS, Phase.NUDGED_MINUS), 2.0)
"""Plain EP, centred: the displacement at a weight's own node in the place of lambda (Scellier et al. 2018)."""

VECTOR_FIELD_EP_ONE_SIDED = Rule("vector_field_ep_one_sided", _contrast(Phase.NUDGED_PLUS, _FREE), 1.0)
"""Plain EP with one nudged phase; an error of order beta remains."""

ASYM_EP = Rule("asym_ep", _contrast(Phase.CORRECTED_PLUS, Phase.CORRECTED_MINUS), 2.0)
"""AsymEP, centred: nudged with +2 A (v - v*) injected, so that the displacement is lambda (Scurria et al. 2026)."""

TWIN = Rule("twin", (Term(1.0, _FREE, _TWIN),))
"""Transposed twin: lambda is the voltage of the adjoint network (Director and Rohrer 1969)."""

ENERGY_EP = Rule(
    "energy_ep",
    (
        Term(1.0, Phase.NUDGED_PLUS, Phase.NUDGED_PLUS, "energy"),
        Term(-1.0, Phase.NUDGED_MINUS, Phase.NUDGED_MINUS, "energy"),
    ),
    2.0,
)
"""Energy contrast: nudged minus free of row drive times column drive (Scellier and Bengio 2017, eq. 9)."""

REVERSED = Rule("reversed", _contrast(Phase.REVERSED_PLUS, Phase.REVERSED_MINUS), 2.0)
"""Every one-way coupling turned round in place about the held v*: the adjoint network on the circuit's own nodes."""

GYRATOR_FLIP = Rule("gyrator_flip", _contrast(Phase.GYRATOR_PLUS, Phase.GYRATOR_MINUS), 2.0)
"""Passive elements and gyrators: flipping the gyrators is the transpose (Tellegen 1948; Director and Rohrer 1969)."""

_UP, _DOWN = Phase.DYADIC_PLUS, Phase.DYADIC_MINUS

DYADIC_EP = Rule(
    "dyadic_ep",
    tuple(Term(sign / 2, pre, post) for pre in (_UP, _DOWN) for sign, post in ((1.0, _UP), (-1.0, _DOWN))),
    1.0,
)
"""Dyadic EP: two coupled copies settle as one; their difference times their mean, which is dE/dtheta of the scalar
whose saddle they find (Scurria et al. 2026; `learning.doubled.Doubled`): one settle, no free phase, A not known."""

HOLOMORPHIC_EP = Rule("holomorphic_ep", (Term(1.0, _FREE, Phase.HOLOMORPHIC),), 1.0)
"""Plain EP with N complex nudges: error of order beta^N in a symmetric system (Laborieux and Zenke 2022)."""

COUPLED_LEARNING = Rule(
    "coupled_learning",
    (Term(1.0, Phase.CLAMPED, Phase.CLAMPED, "energy"), Term(-1.0, _FREE, _FREE, "energy")),
    1.0,
)
"""Coupled learning: outputs clamped eta (for beta) of the way to their targets, squared voltage drops compared (Stern
et al. 2021). As eta falls it is the gradient of e^T H e / 2 with H, the conductance matrix seen from the outputs, held:
that of the squared error e for one output, another direction for several."""

EXACT = ("asym_ep", "twin", "reversed", "gyrator_flip", "dyadic_ep")
"""Estimators of the exact gradient at any asymmetry, where the system has their phases."""

MODEL_RULES = ("vector_field_ep", "vector_field_ep_one_sided", "asym_ep", "twin", "energy_ep", "reversed", "dyadic_ep")
"""Estimators that `compare` shows on F(z)."""

_ALL = (VECTOR_FIELD_EP, VECTOR_FIELD_EP_ONE_SIDED, ASYM_EP, TWIN, ENERGY_EP, REVERSED, GYRATOR_FLIP, DYADIC_EP)
RULES = {rule.name: rule for rule in (*_ALL, HOLOMORPHIC_EP, COUPLED_LEARNING)}


class Estimate(NamedTuple):
    """A gradient and how well the phases behind it settled.

    Attributes
    ----------
    gradient : array name -> dL/dg (1/siemens), averaged over samples.
    residual : largest relative residual of any phase and sample.
    converged : whether every phase of every sample settled.
    """

    gradient: dict[str, Array]
    residual: Array
    converged: Array


class Phases(Protocol):
    """What estimators need of phases: `CircuitPhases` of a compiled transformer, or `SystemPhases` of a circuit."""

    @property
    def netlist(self) -> Netlist:
        """The circuit in which the weights sit."""

    @property
    def return_netlist(self) -> Netlist:
        """The circuit with the return paths of the nudge, on which energies are contrasted."""

    @property
    def supported(self) -> frozenset[Phase]:
        """Phases that it can run."""

    @property
    def unit(self) -> float:
        """Current times voltage that the nudge injects per unit of dL/dv at beta = 1."""

    def run(self, x: Voltages, theta: Parameters, phases: frozenset[Phase], beta: float) -> dict[Phase, PhaseRun]:
        """Run phases for a batch of inputs."""


@dataclass(frozen=True, eq=False)
class Estimators:
    """All estimators on one circuit; the phases that several of them read are run once.

    Parameters
    ----------
    phases : the circuit's phases.
    """

    phases: Phases

    @property
    def available(self) -> tuple[str, ...]:
        """Estimators that this circuit supports.

        AsymEP and Dyadic EP read lambda at states; at `ideal` the internal nodes are none, so only the twin and the
        reversed circuit learn there. Contrasts of energy need every array to be used in both directions.
        """
        supported, energetic = self.phases.supported, has_energy(self.phases.return_netlist)
        return tuple(
            name
            for name, rule in RULES.items()
            if rule.phases <= supported and (energetic or not _contrasts_energy(rule))
        )

    def run(self, names: tuple[str, ...], x: Voltages, theta: Parameters, beta: float) -> dict[Phase, PhaseRun]:
        """All phases that the named estimators read, for a batch of inputs (leading axis)."""
        unknown = sorted(set(names) - set(self.available))
        if unknown:
            raise SpecError(
                f"estimator {unknown[0]!r} does not exist for this circuit; available: {', '.join(self.available)}"
            )
        phases = frozenset(phase for name in names for phase in RULES[name].phases)
        return self.phases.run(x, theta, phases, beta)

    def gradient(self, name: str, runs: dict[Phase, PhaseRun], beta: float) -> Estimate:
        """The local gradient by one rule from the signals of a batch."""
        rule = RULES[name]
        netlist = self.phases.return_netlist if _contrasts_energy(rule) else self.phases.netlist

        def one(signals):
            return local_gradient(rule, netlist, signals, beta, self.phases.unit)

        batched = jax.vmap(one)({phase: run.voltages for phase, run in runs.items() if phase in rule.phases})
        used = [runs[phase].settled for phase in {*rule.phases, Phase.FREE}]
        return Estimate(
            jax.tree.map(lambda g: g.mean(0), batched),
            jnp.max(jnp.stack([jnp.max(s.residual) for s in used])),
            jnp.all(jnp.stack([jnp.all(s.converged) for s in used])),
        )


def _contrasts_energy(rule: Rule) -> bool:
    return any(term.form == "energy" for term in rule.terms)
