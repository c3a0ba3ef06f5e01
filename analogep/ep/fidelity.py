"""How close two gradients are: cosine, relative error, norm ratio, for each array and in all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from analogep.netlist._types import Array


@dataclass(frozen=True)
class Fidelity:
    """A gradient against a reference.

    Attributes
    ----------
    cosine : cosine of the angle between them (0 if the estimate vanishes).
    relative_error : |estimate - reference| / |reference|.
    norm_ratio : |estimate| / |reference|.
    """

    cosine: float
    relative_error: float
    norm_ratio: float

    def to_dict(self) -> dict[str, float]:
        """Plain numbers by name."""
        return asdict(self)


def _compare(estimate: np.ndarray, reference: np.ndarray) -> Fidelity:
    size, scale = np.linalg.norm(estimate), np.linalg.norm(reference)
    if scale == 0:
        return Fidelity(
            1.0 if size == 0 else 0.0, 0.0 if size == 0 else float("inf"), 1.0 if size == 0 else float("inf")
        )
    cosine = float(estimate @ reference / (size * scale)) if size > 0 else 0.0
    return Fidelity(cosine, float(np.linalg.norm(estimate - reference) / scale), float(size / scale))


def fidelity(estimate: Mapping[str, Array], reference: Mapping[str, Array]) -> tuple[Fidelity, dict[str, Fidelity]]:
    """Fidelity over all arrays together, and of each array by itself."""
    flat = {name: (np.ravel(estimate[name]), np.ravel(reference[name])) for name in sorted(reference)}
    each = {name: _compare(*pair) for name, pair in flat.items()}
    return _compare(*(np.concatenate(side) for side in zip(*flat.values(), strict=True))), each
