"""A sweep on Dask: killed and resumed, with a worker that dies, with a scheduler that goes away."""

import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from distributed import Client, LocalCluster
from test_sweep_run import POINTS, assert_whole, kill_after, lines, plan

from analogep.errors import DataError
from analogep.sweep import run


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and two worker processes of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEP_SLEEP", "0.03")
        patch.setenv("SWEEP_MARK", str(tmp_path_factory.mktemp("dask") / "mark"))
        with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
            yield cluster


def test_a_sweep_on_dask_killed_at_a_random_moment_gives_the_same_dataset(cluster, tmp_path):
    count = random.Random().randrange(1, 15)
    kill_after(tmp_path, count, "--scheduler", cluster.scheduler_address)
    there = lines(tmp_path)
    assert count <= there < POINTS
    outcome = run(plan(), tmp_path, scheduler=cluster.scheduler_address)
    assert outcome.measured == POINTS - there
    assert_whole(outcome.dataset)


def test_a_dask_worker_that_is_killed_loses_nothing(cluster, tmp_path):
    with Client(cluster, set_as_default=False) as client:
        victims = sorted(client.run(os.getpid).values())
    there = []

    def kill():
        while lines(tmp_path) < 5:
            time.sleep(0.002)
        os.kill(victims[0], signal.SIGKILL)
        there.append(lines(tmp_path))

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    outcome = run(plan(), tmp_path, scheduler=cluster.scheduler_address)
    killer.join(5)
    assert there[0] < POINTS
    assert_whole(outcome.dataset)


def test_a_point_that_kills_every_dask_worker_is_a_row(cluster, tmp_path):
    chosen = plan("seed=0,1,2,3", measure="sweep_tasks:mortal")
    data = run(chosen, tmp_path, scheduler=cluster.scheduler_address).dataset
    assert list(data["status"].values) == ["done", "done", "failed", "done"]
    assert "its Dask worker died several times" in data["error"].values[2]


def test_a_scheduler_that_goes_away_is_said_and_the_sweep_goes_on_elsewhere(tmp_path):
    file = tmp_path / "scheduler.json"
    start = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    words = [*start, "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    scheduler = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 30
        while not file.exists() and time.monotonic() < end:
            time.sleep(0.05)
        # no worker is there: the sweep waits, until the scheduler dies
        code = f"import os, signal, time; time.sleep(2); os.kill({scheduler.pid}, signal.SIGKILL)"
        with subprocess.Popen([sys.executable, "-c", code]), pytest.raises(DataError, match="was lost"):
            run(plan(), tmp_path / "out", scheduler=str(file))
    finally:
        scheduler.kill()
        scheduler.wait()
    assert_whole(run(plan(), tmp_path / "out").dataset)
