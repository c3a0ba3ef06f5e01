"""Layer normalization over the channels, and the cell that applies its Jacobian."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from analogep.cells.cell import Cell, lane_nodes, ports
from analogep.netlist._types import Array

if TYPE_CHECKING:
    from analogep.netlist.spice.write import Deck


def _normalize(z: Array, epsilon: float) -> tuple[Array, Array]:
    """Normalized channels and their standard deviation."""
    centered = z - z.mean(-1, keepdims=True)
    sigma = jnp.sqrt((centered**2).mean(-1, keepdims=True) + epsilon)
    return centered / sigma, sigma


def _statistics(size: int) -> list[str]:
    """SPICE lines that form the mean (volts) and the deviation (dimensionless) of nodes a1 ... aN."""
    return [
        *(f"Gm{k} 0 mean a{k} 0 {1 / size:.17g}" for k in range(1, size + 1)),
        "Rm mean 0 1",
        *(f"Bv{k} 0 var I=(v(a{k})-v(mean))*(v(a{k})-v(mean))/({size}*{{u}}*{{u}})" for k in range(1, size + 1)),
        "Rv var 0 1",
        "Bs sigma 0 V=sqrt(v(var)+{eps})",
    ]


@dataclass(frozen=True, eq=False)
class _Lanes(Cell):
    """One instance for each lane of channels."""

    epsilon: float = 1e-5

    @property
    def mixes(self) -> int:
        return 1

    def parameters(self) -> Mapping[str, float]:
        return {"eps": self.epsilon}

    def instances(self, deck: Deck) -> Iterator[tuple[tuple[int, ...], int, list[str]]]:
        *lanes, size = deck.shape(self.output)
        for lane in np.ndindex(*lanes):
            yield lane, size, lane_nodes(deck, (*self.inputs, self.output), lane, np.arange(size))


@dataclass(frozen=True, eq=False)
class LayerNorm(_Lanes):
    """u = (z - mean z) / sqrt(var z + epsilon), without affine part; the gradient of d * sigma(z)."""

    def law(self, z: Array) -> Array:
        return _normalize(z, self.epsilon)[0]

    def subcircuit(self, size: int) -> tuple[str, list[str]]:
        body = [
            f".subckt layer_norm_{size} {' '.join(ports('a', size) + ports('y', size))} gm=1 u=1 eps=0",
            *_statistics(size),
            *(f"By{k} 0 y{k} I={{gm}}*(v(a{k})-v(mean))/v(sigma)" for k in range(1, size + 1)),
            ".ends",
        ]
        return f"layer_norm_{size}", body


@dataclass(frozen=True, eq=False)
class LayerNormTranspose(_Lanes):
    """y = J(z)^T f = (f - mean f - u mean(u f)) / sigma, with u = LayerNorm(z): the chain rule of the energy model."""

    def law(self, z: Array, f: Array) -> Array:
        u, sigma = _normalize(z, self.epsilon)
        return (f - f.mean(-1, keepdims=True) - u * (u * f).mean(-1, keepdims=True)) / sigma

    def transposed_law(self, inputs: tuple[Array, ...], lam: Array) -> tuple[Array, ...]:
        # J is the Hessian of d * sigma(z): its derivative is a symmetric third-order tensor, so the transpose with
        # respect to z is again a directional derivative, with lam in the place of f.
        z, f = inputs
        along_z = jax.jvp(lambda x: self.law(x, f), (jnp.asarray(z),), (jnp.asarray(lam),))[1]
        return along_z, self.law(z, lam)

    def subcircuit(self, size: int) -> tuple[str, list[str]]:
        names = ports("a", size) + ports("f", size) + ports("y", size)
        body = [
            f".subckt layer_norm_transpose_{size} {' '.join(names)} gm=1 u=1 eps=0",
            *_statistics(size),
            *(f"Gf{k} 0 fmean f{k} 0 {1 / size:.17g}" for k in range(1, size + 1)),
            "Rf fmean 0 1",
            *(f"Bn{k} n{k} 0 V=(v(a{k})-v(mean))/({{u}}*v(sigma))" for k in range(1, size + 1)),
            *(f"Bp{k} 0 proj I=v(n{k})*v(f{k})/{size}" for k in range(1, size + 1)),
            "Rp proj 0 1",
            *(f"By{k} 0 y{k} I={{gm}}*(v(f{k})-v(fmean)-v(n{k})*v(proj))/v(sigma)" for k in range(1, size + 1)),
            ".ends",
        ]
        return f"layer_norm_transpose_{size}", body
