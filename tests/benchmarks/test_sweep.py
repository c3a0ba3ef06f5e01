"""A map and a Monte Carlo of the demo block on two cores, and Dask with two workers against one."""

import os
import statistics
import time
from contextlib import ExitStack

import pytest
from distributed import Client, LocalCluster

from analogep.sweep import make_plan, parse_axis, quantiles, run
from analogep.sweep.executors import PINNED

pytestmark = pytest.mark.bench

LAST = {"data": {"objective": "last_token"}}


def test_a_map_of_damping_and_asymmetry(tmp_path, row):
    axes = [parse_axis("model.damping=0.5:8:20:log"), parse_axis("model.asymmetry=0.05:0.95:20")]
    plan = make_plan(LAST, axes, ["panel", "fidelity"])
    begin = time.perf_counter()
    outcome = run(plan, tmp_path, workers=2, progress=True)
    seconds = time.perf_counter() - begin
    each = outcome.dataset["seconds"].values.ravel()
    row(
        "20 x 20 map of the demo block, panel and fidelity, two processes",
        f"{seconds:.0f} s",
        "< 300 s",
        f"a point {sorted(each)[len(each) // 2]:.2f} s (median), the first {max(each):.0f} s; {outcome.counts}",
    )


def test_a_thousand_mismatched_circuits(tmp_path, row):
    plan = make_plan(LAST, [parse_axis("chip.number=0:999:1000")], ["chip"])
    begin = time.perf_counter()
    outcome = run(plan, tmp_path, workers=2, progress=True)
    seconds = time.perf_counter() - begin
    each, middle = outcome.dataset["seconds"].values, quantiles(outcome.dataset).sel(quantile=0.5)
    row(
        "Monte Carlo of 1,000 chips of the demo block, two processes",
        f"{seconds:.0f} s",
        "< 120 s",
        f"a chip {1e3 * statistics.median(each):.0f} ms (median); {outcome.counts}; median settling time "
        f"{float(middle['settling_time']):.1f} tau, cosine {float(middle['reversed_cosine']):.4f}",
    )


def _warm_up(spec):
    from analogep.spec import parse_spec
    from analogep.sweep.measures import panel

    panel(parse_spec(spec))


def _busy():
    """Seconds of a core that a worker has used."""
    return time.process_time()


def test_two_dask_workers_against_one(tmp_path, row, monkeypatch):
    """Warm workers: each has compiled the block before; sweeps on one and on two take turns."""
    for name, value in PINNED.items():
        monkeypatch.setenv(name, os.environ.get(name, value))
    plan = make_plan(LAST, [parse_axis("model.asymmetry=0.1:0.9:16")], ["panel"])
    ratios, times, busy = [], {1: [], 2: []}, {1: 0.0, 2: 0.0}
    with ExitStack() as stack:
        clusters = {}
        for count in times:
            cluster = LocalCluster(n_workers=count, threads_per_worker=1, processes=True, dashboard_address=None)
            clusters[count] = stack.enter_context(cluster).scheduler_address
            with Client(cluster, set_as_default=False) as client:
                client.run(_warm_up, plan.points[0].spec)
        for turn in range(3):
            for count, address in clusters.items():
                with Client(address, set_as_default=False) as client:
                    assert len(client.scheduler_info()["workers"]) == count
                    before = sum(client.run(_busy).values())
                    begin = time.perf_counter()
                    assert run(plan, tmp_path / f"{turn}-{count}", scheduler=address).converged
                    times[count].append(time.perf_counter() - begin)
                    busy[count] += (sum(client.run(_busy).values()) - before) / (3 * len(plan.points))
            ratios.append(times[1][-1] / times[2][-1])
    one, two = (statistics.median(times[count]) for count in times)
    row(
        "Dask, two workers against one, 16 panels of the demo block",
        f"{statistics.median(ratios):.2f}x",
        ">= 1.7x",
        f"{one:.1f} s and {two:.1f} s, workers warm; {', '.join(f'{ratio:.2f}' for ratio in ratios)}; core seconds a "
        f"panel {busy[1]:.2f} and {busy[2]:.2f}",
    )
