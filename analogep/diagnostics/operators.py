"""Products of a system's matrices with vectors, at an operating point, without forming a matrix."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache, partial

import jax
import numpy as np
import scipy.linalg
import scipy.sparse

from analogep.diagnostics.analyzed import Analyzed
from analogep.diagnostics.condensation import Condensed, condensed
from analogep.diagnostics.sparse import sparse_conductance
from analogep.errors import NetlistError
from analogep.netlist._types import Array, Currents, Parameters, Voltages
from analogep.netlist.adjoint import adjoint
from analogep.netlist.element import HELD
from analogep.simulate.circuit import Circuit
from analogep.simulate.linear import Solve, linear_response
from analogep.simulate.system import System

DENSE_TRANSPOSE = 4096
"""Most states of a system without a netlist: its transposed products use the dense matrix that forward mode gives."""

LISTED = 4096
"""Most states of a circuit whose products use the list of its conductances: for more, arrays that tokens share make
directional derivatives the faster way."""

_PROBED_BUSES = 64
"""Most buses of which the diagonal of G is found, one product each."""


class Operators:
    """Products with G, with J = -C^-1 G in the C metric, and with the parts of both, over the states on feedback loops.

    G u is a directional derivative of the current. G^T u is the current of the adjoint network, which holds the
    operating point on rails; of a system without a netlist it is taken from the dense matrix. A circuit of at most
    `LISTED` states has both from the sparse list of its conductances, where there is one. No product uses reverse mode,
    so the forward-only systems of local learning have diagnostics as well. Vectors are NumPy, [n], in float64; G is in
    units of `scale.siemens` and J in 1/tau.

    Parameters
    ----------
    system : a circuit without capacitors between live nodes, or any system of at most `DENSE_TRANSPOSE` states.
    v, x, theta : operating point, inputs and conductances.

    Attributes
    ----------
    n : states looked at, those of `Analyzed`.
    products : products with G or G^T so far.

    Raises
    ------
    NetlistError
        For capacitors between live nodes, whose metric is a matrix, and for larger systems without a netlist.
    """

    def __init__(self, system: System, v: Voltages, x: Voltages, theta: Parameters) -> None:
        self.system, self.part = system, Analyzed(system)
        self.n, self.products = self.part.states, 0
        capacitance = self.part.capacitance / system.scale.farads
        if capacitance.ndim > 1:
            raise NetlistError(
                "capacitors join live nodes, so that the metric is a matrix; matrix-free diagnostics take capacitors "
                "to ground only: use matrix_free=False"
            )
        if not np.all(capacitance > 0):
            raise NetlistError("a state has no capacitance: eliminate memoryless nodes")
        if not isinstance(system, Circuit) and self.n > DENSE_TRANSPOSE:
            raise NetlistError(
                f"{type(system).__name__} has {self.n} states and no netlist, so that G^T is not known without G; "
                f"compile it (level 'ideal' is the same equation) or keep to {DENSE_TRANSPOSE} states"
            )
        self._root = np.sqrt(capacitance)
        self._point = (dict(v), dict(x), dict(theta))

    def G(self, u: np.ndarray) -> np.ndarray:
        """G u: the change of the currents that leave, for a change u of the voltages."""
        self.products += 1
        if self._listed is not None:
            return self._listed[0] @ u
        return np.asarray(_pushed(self._push, u)) / self.system.scale.siemens

    def Gt(self, u: np.ndarray) -> np.ndarray:
        """G^T u, from the adjoint network."""
        self.products += 1
        if self._listed is not None:
            return self._listed[1] @ u
        if isinstance(self.system, Circuit):
            network = transposed_network(self.system)
            return np.asarray(_pulled(self.system, network, self._held, self._point[2], u)) / self.system.scale.siemens
        return np.einsum("ij,i->j", self._dense, u)

    def J(self, u: np.ndarray) -> np.ndarray:
        """J u in the C metric: -C^-1/2 G C^-1/2 u."""
        return -self.G(u / self._root) / self._root

    def Jt(self, u: np.ndarray) -> np.ndarray:
        """J^T u in the C metric."""
        return -self.Gt(u / self._root) / self._root

    def S(self, u: np.ndarray) -> np.ndarray:
        """(G + G^T) u / 2."""
        return (self.G(u) + self.Gt(u)) / 2

    def A(self, u: np.ndarray) -> np.ndarray:
        """(G - G^T) u / 2."""
        return (self.G(u) - self.Gt(u)) / 2

    def log_norm(self, u: np.ndarray) -> np.ndarray:
        """(J + J^T) u / 2 in the C metric, whose rightmost eigenvalue is omega."""
        return (self.J(u) + self.Jt(u)) / 2

    def J_inverse(self, u: np.ndarray) -> np.ndarray:
        """J^-1 u in the C metric, by eliminating the cells' cascade; it has no result at an exactly singular G."""
        return -self._root * np.asarray(self._solve(self._root * u)) * self.system.scale.siemens

    def Jt_inverse(self, u: np.ndarray) -> np.ndarray:
        """J^-T u in the C metric, in the same way in the adjoint network."""
        return -self._root * np.asarray(self._solve_transposed(self._root * u)) * self.system.scale.siemens

    @cached_property
    def diagonal(self) -> np.ndarray | None:
        """Diagonal of G [n], one product a bus with random signs on it; None for more than 64 buses.

        Exact where the nodes of one bus act on each other through other buses only, as in compiled blocks; else an
        unbiased estimate.
        """
        if len(self.part.buses) > _PROBED_BUSES:
            return None
        signs = np.random.default_rng(0).choice([-1.0, 1.0], self.n)
        ends = np.cumsum([bus.nodes for bus in self.part.buses.values()])
        found = np.zeros(self.n)
        for begin, end in zip(ends - [bus.nodes for bus in self.part.buses.values()], ends, strict=True):
            probe = np.zeros(self.n)
            probe[begin:end] = signs[begin:end]
            found[begin:end] = (probe * self.G(probe))[begin:end]
        return found

    @cached_property
    def _push(self) -> Callable[[Array], Array]:
        return _linearized(self.system, *self._point)

    @cached_property
    def _listed(self) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array] | None:
        """G and G^T as sparse matrices."""
        G = self._sparse() if self.n <= LISTED else None
        return None if G is None else (G, G.T.tocsr())

    @cached_property
    def condensed(self) -> Condensed | None:
        """Factors of S; None where the conductances are not listed or are too many, or a token's block is singular."""
        G = self._listed[0] if self._listed is not None else self._sparse()
        return None if G is None else condensed(G, tuple(self.part.buses.values()))

    def _sparse(self) -> scipy.sparse.csr_array | None:
        """The list of conductances, where there is one."""
        G = sparse_conductance(self.system, *self._point) if isinstance(self.system, Circuit) else None
        return None if G is None else G / self.system.scale.siemens

    @cached_property
    def _held(self) -> dict[str, Array]:
        """The operating point on the rails of the adjoint network."""
        return {HELD + bus: value for bus, value in self.system.voltages(*self._point).items()}

    @cached_property
    def _dense(self) -> np.ndarray:
        """G of a system without a netlist, dense [n, n]."""
        return self.part.conductance(*self._point) / self.system.scale.siemens

    @cached_property
    def _solve(self) -> Callable[[np.ndarray], Array]:
        return self._flat(linear_response(self.system, *self._point))

    @cached_property
    def _solve_transposed(self) -> Callable[[np.ndarray], Array]:
        if isinstance(self.system, Circuit):
            network = transposed_network(self.system)
            return self._flat(linear_response(network, network.zeros(), self._held, self._point[2]))
        factors = scipy.linalg.lu_factor(self._dense.T * self.system.scale.siemens)
        return lambda u: scipy.linalg.lu_solve(factors, u)

    def _flat(self, solve: Solve) -> Callable[[np.ndarray], Array]:
        """A solve over the states looked at; the others do not act on them and take no current."""
        zeros = self.system.zeros()
        return jax.jit(lambda u: self.part.flatten(solve(self.part.place(u, zeros))))


@lru_cache(maxsize=8)
def transposed_network(circuit: Circuit) -> Circuit:
    """The adjoint network of a circuit as a system, kept so that it is compiled once."""
    return Circuit(adjoint(circuit.netlist), circuit.scale)


@partial(jax.jit, static_argnames="system")
def _linearized(system: System, v: Voltages, x: Voltages, theta: Parameters) -> Callable[[Array], Array]:
    """The directional derivative of the current over the states looked at, with its coefficients worked out."""
    part = Analyzed(system)

    def leaving(flat: Array) -> Array:
        return part.flatten(system.current(part.place(flat, v), x, theta))

    return jax.linearize(leaving, part.flatten(v))[1]


@jax.jit
def _pushed(push: Callable[[Array], Array], u: Array) -> Array:
    return push(u)


@partial(jax.jit, static_argnames=("system", "network"))
def _pulled(system: System, network: Circuit, held: Voltages, theta: Parameters, u: Array) -> Array:
    part = Analyzed(system)
    leaving: Currents = network.current(part.place(u, system.zeros()), held, theta)
    return part.flatten({name: leaving[name] for name in part.buses})
