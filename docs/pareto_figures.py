"""The figure of the page on turning the knobs; docs/figures.py draws it with the others."""

from __future__ import annotations

from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure

from analogep.plot import pareto

DATA = Path(__file__).parent / "examples" / "pareto.nc"
"""What the command at the top of that page wrote: minutes of work, so that it is kept."""


def pareto_front() -> Figure:
    """Fronts, progress and knobs of the built-in block on gain cells of 64 levels."""
    with xr.open_dataset(DATA, engine="h5netcdf") as data:
        return pareto.figure(data.load())


FIGURES = {"pareto_front": pareto_front}
