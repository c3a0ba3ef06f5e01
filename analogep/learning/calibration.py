"""Local calibration: a mismatched adjoint path is trimmed, from probes, until circuit and path are reciprocal.

A probe is one random pattern of currents +-1 in the circuit (response u = G^-1 p about v*) and one in the path
(r = Gt^-1 q). If Gt = G^T, Tellegen's theorem makes q . u equal p . r. What is missing is, exactly,

    e = q . u - p . r = u^T (Gt - G^T) r,

a sum over copies of (what the conductance is off) times two voltages at its own terminals: the circuit's at the node
that the copy drives, the path's at the node that it reads. So each trim moves by -gain e times its own product, over
the sum of all squared products: a projection on the trims that would explain e, which never increases their distance
from the right ones. It is the twin's own learning rule with a probe in the place of the free state. Only e over that
sum is broadcast; no conductance is ever read, and no node is measured that learning does not measure anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from analogep.errors import SpecError
from analogep.learning.mismatch import Path, settles

Floats = np.ndarray

FLOOR = 0.2
"""Lowest trim of a load: a conductance to ground cannot be turned off, nor change its sign."""


@dataclass(frozen=True)
class Instrument:
    """How well voltages are read and trims are written.

    Parameters
    ----------
    noise : standard deviation of a reading, of full scale.
    bits : of the converter over -full scale ... full scale; None is an ideal one.
    residue : what is left after each write, relative (standard deviation), drawn anew and never seen by calibration.
    """

    noise: float = 0.01
    bits: int | None = 8
    residue: float = 0.01

    def __post_init__(self) -> None:
        if min(self.noise, self.residue) < 0 or (self.bits is not None and self.bits < 1):
            raise SpecError(f"an instrument needs noise >= 0, residue >= 0 and bits >= 1; got {self}")

    def read(self, volts: Floats, full_scale: Floats, rng: np.random.Generator) -> Floats:
        """Voltages as read."""
        volts = volts + self.noise * full_scale * rng.normal(size=volts.shape)
        if self.bits is None:
            return volts
        step = 2 * full_scale / 2**self.bits
        return np.clip(step * np.round(volts / step), -full_scale, full_scale)

    def written(self, trims: Floats, rng: np.random.Generator) -> Floats:
        """Trims as they are after writing."""
        return trims * (1.0 + self.residue * rng.normal(size=trims.shape))


class Calibrated(NamedTuple):
    """Adjoint paths after calibration.

    Attributes
    ----------
    trims : asked for at the end [..., K].
    probes : numbers of probes, each one settle of the circuit and one of the path, at which the path was kept.
    matrices : conductance matrices of the path as written at those times [len(probes), ..., n, n].
    railed : probes at which the path did not settle and was turned down instead [...].
    """

    trims: Floats
    probes: Floats
    matrices: Floats
    railed: Floats


def calibrate(
    conductance: Floats,
    path: Path,
    capacitance: Floats,
    *,
    drivers: Floats,
    rng: np.random.Generator,
    keep: Sequence[int],
    instrument: Instrument | None = None,
    gain: float = 0.5,
    slower: float = 300.0,
    leak: float = 0.02,
) -> Calibrated:
    """Trim paths beside their circuits, as many at once as there are leading axes (one axis).

    A path that does not settle has no response: it turns its one-way trims down by a tenth instead, until it does.

    Parameters
    ----------
    conductance : G [circuits, n, n] at rest; each settled phase is the solution of G u = p.
    path : the adjoint path; its copies' `siemens` are [circuits, K].
    capacitance : of the nodes [n], in the unit of G times time.
    drivers : nodes where probe currents enter and where e is read; voltages at the copies are read everywhere.
    keep : probes after which the path is kept, ascending; the last one ends calibration; 0 is the path as built.
    instrument : readings and writes; `Instrument()` (1 % noise, 8 bits, 1 % residue) when None.
    gain : of the normalized step, 0 ... 2; it falls as 1 / (1 + probes / slower), which averages the noise of readings.
    leak : of the peak detectors that set full scale, one for the circuit and one for each path: the largest response
        so far, less this part a probe.

    Raises
    ------
    SpecError
        If `keep` is not ascending, or the gain is outside 0 ... 2.

    Reference
    ---------
    Director and Rohrer 1969 (interreciprocity of adjoint networks); Kaczmarz 1937 (the projection).
    """
    if not 0 < gain < 2:
        raise SpecError(f"a normalized step is stable for gains between 0 and 2, not {gain:g}")
    if not keep or list(keep) != sorted(set(keep)) or keep[0] < 0:
        raise SpecError(f"probes at which to keep the path must ascend from 0 up, not {list(keep)}")
    instrument, copies = instrument or Instrument(), path.copies
    circuits, nodes = conductance.shape[:2]
    trims, railed = np.ones_like(copies.siemens), np.zeros(circuits, int)
    least, turned_down = np.where(copies.one_way, -np.inf, FLOOR), np.where(copies.one_way, 0.9, 1.0)
    inverse = np.linalg.inv(conductance)

    def pattern() -> Floats:
        currents = np.zeros((circuits, nodes))
        currents[:, drivers] = rng.choice([-1.0, 1.0], size=(circuits, len(drivers)))
        return currents

    def responses(p: Floats) -> Floats:
        return np.einsum("cij,cj->ci", inverse, p)

    kept, peaks = [], np.zeros((2, circuits, 1))
    for probe in range(keep[-1] + 1):
        written = instrument.written(trims, rng) if probe else trims
        matrix = path.matrix(written)
        if probe in keep:
            kept.append(matrix)
        if probe == keep[-1]:
            break
        stable, p, q = settles(matrix, capacitance)[:, None], pattern(), pattern()
        r = np.linalg.solve(np.where(stable[..., None], matrix, np.eye(nodes)), q[..., None])[..., 0]
        both = np.stack([responses(p), r])
        peaks = np.maximum((1 - leak) * peaks, np.abs(both).max(-1, keepdims=True))
        u, r = instrument.read(both, peaks, rng)
        missing = ((q * u).sum(1) - (p * r).sum(1))[:, None]
        blame = u[:, copies.drives] * (copies.siemens * r[:, copies.reads])
        step = gain / (1 + probe / slower) * missing * blame / (blame**2).sum(1, keepdims=True)
        trims = np.maximum(np.where(stable, trims - step, trims * turned_down), least)
        railed += ~stable[:, 0]
    return Calibrated(trims, np.asarray(keep), np.stack(kept), railed)
