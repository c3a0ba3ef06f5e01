"""Cheap measures for sweeps of the tests, found by workers as `sweep_tasks:NAME`."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from analogep.errors import ConvergenceError, NetlistError


def cheap(spec):
    """Numbers with all digits, and a hundredth of a second."""
    time.sleep(float(os.environ.get("SWEEP_SLEEP", "0.01")))
    rng = np.random.default_rng([spec.seed, int(spec.model.damping * 1e6)])
    return {"noise": rng.standard_normal(), "square": spec.model.damping**2, "root": np.sqrt(spec.seed)}


cheap.units = {"square": "g0^2"}


def choosy(spec):
    """Fails in its own way at some points."""
    if spec.seed == 1:
        raise NetlistError("node 'z' floats")
    if spec.seed == 2:
        raise ConvergenceError("the free phase did not settle")
    if spec.seed == 3:
        raise ZeroDivisionError("division by\nzero")
    if spec.seed == 4:
        return {"residual": 0.5, "converged": False}
    if spec.seed == 5:
        return {"status": 1.0}
    if spec.seed == 6:
        return {"word": "no number"}
    return {"residual": 1e-12, "converged": True, "only_here": float("inf")}


def mortal(spec):
    """Kills its process: at seed 1 the first time, at seed 2 every time."""
    mark = Path(os.environ["SWEEP_MARK"])
    if spec.seed == 2 or (spec.seed == 1 and not mark.exists()):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"seed_squared": spec.seed**2}
