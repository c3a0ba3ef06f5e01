"""Checks of the machine: versions, double precision, the miscompilation of jax 0.10.2, SPICE, accelerators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from analogep import miscompilation
from analogep.environment import versions
from analogep.errors import MissingToolError
from analogep.simulate import ngspice, pyspice


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
    return [
        Check("python", True, found["python"]),
        Check("jax", True, f"{found['jax']}, jaxlib {found['jaxlib']}, diffrax {found['diffrax']}"),
        Check("float64", wide.dtype == jnp.float64 and float(wide) > 1.0, f"default float is {wide.dtype}"),
        Check(
            "compiled numbers",
            outcome.correct,
            f"jit gives {outcome.compiled:.0f}, exact {outcome.exact:.0f} (wrong under jax 0.10.2, jax issue 39103)",
        ),
        _tool("ngspice", lambda: f"version {ngspice.version()}"),
        _tool("PySpice", pyspice.version),
        Check("GPU", bool(gpus), ", ".join(map(str, gpus)) or "none; everything runs on the CPU", False),
    ]


def _tool(name: str, version: Callable[[], str]) -> Check:
    """An optional program: its version, or how to install it."""
    try:
        return Check(name, True, version(), False)
    except MissingToolError as error:
        return Check(name, False, str(error), False)
