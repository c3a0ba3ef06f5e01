"""Checks of the machine: versions, double precision, the miscompilation of jax 0.10.2, SPICE, accelerators."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import jax
import jax.numpy as jnp

from analogep import miscompilation
from analogep.environment import versions
from analogep.errors import MissingToolError
from analogep.simulate import ngspice


@dataclass(frozen=True)
class Check:
    """One finding; `needed` ones decide the verdict."""

    name: str
    ok: bool
    detail: str
    needed: bool = True


def examine() -> list[Check]:
    """Run all checks."""
    found = versions()
    wide = jnp.asarray(1.0) + 2.0**-40
    outcome = miscompilation.measure()
    gpus = [device for device in jax.devices() if device.platform != "cpu"]
    pyspice = find_spec("PySpice") is not None
    return [
        Check("python", True, found["python"]),
        Check("jax", True, f"{found['jax']}, jaxlib {found['jaxlib']}, diffrax {found['diffrax']}"),
        Check("float64", wide.dtype == jnp.float64 and float(wide) > 1.0, f"default float is {wide.dtype}"),
        Check(
            "compiled numbers",
            outcome.correct,
            f"jit gives {outcome.compiled:.0f}, exact {outcome.exact:.0f} (wrong under jax 0.10.2, jax issue 39103)",
        ),
        _ngspice(),
        Check("PySpice", pyspice, "installed" if pyspice else "not installed (optional: analogep[spice])", False),
        Check("GPU", bool(gpus), ", ".join(map(str, gpus)) or "none; everything runs on the CPU", False),
    ]


def _ngspice() -> Check:
    try:
        return Check("ngspice", True, f"version {ngspice.version()}", False)
    except MissingToolError as error:
        return Check("ngspice", False, str(error), False)
