"""Running a sweep: what its folder lacks is measured, and the whole becomes one dataset."""

from __future__ import annotations

import math
import sys
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr
from tqdm import tqdm

from analogep.errors import SpecError
from analogep.files import whole_file
from analogep.sweep.dataset import CHIPS, quantiles, to_dataset
from analogep.sweep.executors import Finished, in_processes, in_this_process, on_dask
from analogep.sweep.plan import Plan, Point
from analogep.sweep.store import DATASET, SUMMARY, Store
from analogep.sweep.work import DONE, FAILED, UNCONVERGED, Task


@dataclass(frozen=True, eq=False)
class Outcome:
    """A sweep with its results.

    Attributes
    ----------
    path : of the dataset.
    dataset : all points over their axes.
    measured : points that this run measured; the others were there.
    """

    plan: Plan
    path: Path
    dataset: xr.Dataset
    measured: int

    @property
    def counts(self) -> dict[str, int]:
        """Status -> number of points."""
        return dict(Counter(map(str, self.dataset["status"].values.ravel())))

    @property
    def converged(self) -> bool:
        """Whether no measured point failed or did not converge."""
        return not {UNCONVERGED, FAILED} & set(self.counts)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `analogep sweep`, but for versions and wall time."""
        return {
            "path": str(self.path),
            "points": len(self.plan.points),
            "done": self.counts.get(DONE, 0),
            "failed": len(self.plan.points) - self.counts.get(DONE, 0),
            "status": self.counts,
            "measured_now": self.measured,
            "seconds": math.fsum(self.dataset["seconds"].fillna(0.0).values.ravel()),
            "axes": {axis.name: len(axis.values) for axis in self.plan.axes},
            "configuration_hash": self.plan.digest,
        }


def run(
    plan: Plan,
    folder: Path,
    *,
    workers: int = 0,
    scheduler: str | None = None,
    retry: bool = False,
    progress: bool = False,
) -> Outcome:
    """Measure every point that `folder` does not hold yet, and write the dataset `sweep.nc` there.

    With an axis of chips their quantiles are written beside it, as `quantiles.nc`.

    Points are measured in the same groups whatever is there already, so a sweep that was killed and goes on gives the
    dataset of one that was not, to the last bit. Another executor may round differently.

    Parameters
    ----------
    workers : processes of this machine; 0 measures in this one.
    scheduler : address of a Dask scheduler, or its file; in the place of `workers`.
    retry : measure points anew that failed or did not converge.
    progress : show a bar on stderr.

    Raises
    ------
    DataError
        If the folder holds another sweep, is in use or cannot be written, or a worker has other versions.
    MissingToolError
        If there is no Dask, or no scheduler answers.
    """
    if scheduler is not None and workers:
        raise SpecError("give either workers on this machine or a scheduler, not both")
    with Store(folder, plan) as store:
        again = {FAILED, UNCONVERGED} if retry else set()
        kept = {digest for digest, row in store.rows.items() if row.status not in again}
        tasks = [_task(plan, group) for group in plan.groups if any(point.digest not in kept for point in group)]
        points = sum(len(group) for group in plan.groups)
        todo = sum(len(task.digests) for task in tasks)
        bar = tqdm(
            total=points, initial=points - todo, desc="sweep", unit="point", disable=not progress, file=sys.stderr
        )
        # closed at once when something goes wrong here, so that no worker outlives the sweep
        with bar, closing(_start(tasks, workers, scheduler)) as finished:
            for _, rows in finished:
                store.add(rows)
                bar.update(len(rows))
        dataset = to_dataset(plan, store.rows)
        path = store.folder / DATASET
        _write(dataset, path)
        if CHIPS in dataset.dims:
            _write(quantiles(dataset), store.folder / SUMMARY)
    return Outcome(plan, path, dataset, todo)


def _write(dataset: xr.Dataset, path: Path) -> None:
    with whole_file(path) as partial:
        dataset.to_netcdf(partial, engine="h5netcdf")


def _task(plan: Plan, group: list[Point]) -> Task:
    specs = tuple(point.spec for point in group if point.spec is not None)
    digests = tuple(point.digest for point in group)
    return Task(digests, specs, tuple(plan.measures.values()), plan.configuration["versions"])


def _start(tasks: list[Task], workers: int, scheduler: str | None) -> Finished:
    if tasks and scheduler is not None:
        yield from on_dask(tasks, scheduler)
    elif tasks:
        yield from in_processes(tasks, workers) if workers else in_this_process(tasks)
