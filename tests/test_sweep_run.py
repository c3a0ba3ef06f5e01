"""A sweep is killed, loses a worker, meets a full disk or another sweep: nothing is lost, and nothing is mixed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from analogep.errors import DataError, MissingToolError, SpecError
from analogep.sweep import MEASURES, Measure, executors, make_plan, parse_axis, run
from analogep.sweep.store import DATASET, JOURNAL, MANIFEST

HERE = Path(__file__).parent
AXES = ("model.damping=0.5:8:6:log", "seed=0,1,2,3,4")
POINTS = 30


def plan(*axes, measure="sweep_tasks:cheap"):
    return make_plan({}, [parse_axis(axis) for axis in axes or AXES], [measure])


@cache
def undisturbed() -> xr.Dataset:
    """The sweep that nothing happened to, by another way: one measure after another, without a folder."""
    import sweep_tasks

    from analogep.spec import load_spec

    dampings = np.geomspace(0.5, 8, 6)
    values = [
        [sweep_tasks.cheap(load_spec(None, [f"model.damping={d!r}", f"seed={s}"])) for s in range(5)]
        for d in map(float, dampings)
    ]
    names = ("noise", "square", "root")
    return xr.Dataset(
        {name: (("model.damping", "seed"), [[cell[name] for cell in row] for row in values]) for name in names},
        {"model.damping": dampings, "seed": range(5)},
    )


def assert_whole(dataset):
    """Every number is the undisturbed sweep's, to the last bit."""
    assert set(dataset["status"].values.ravel()) == {"done"}
    wanted = undisturbed()
    for name in wanted.variables:
        assert dataset[name].values.tobytes() == wanted[name].values.tobytes(), name


def command(folder, *options, axes=AXES, measure="sweep_tasks:cheap"):
    main = "from analogep.cli import main; main()"
    given = [part for axis in axes for part in ("--axis", axis)]
    return [sys.executable, "-c", main, "sweep", *given, "--measure", measure, "-o", str(folder), "--json", *options]


def environment(sleep="0.03"):
    paths = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": paths, "SWEEP_SLEEP": sleep}


def lines(folder):
    path = Path(folder) / JOURNAL
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill_after(folder, count, *options):
    """Start the sweep as its own process group and kill -9 all of it once `count` points are there."""
    process = subprocess.Popen(command(folder, *options), env=environment(), start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # fmt: skip
    end = time.monotonic() + 60
    while lines(folder) < count and process.poll() is None and time.monotonic() < end:
        time.sleep(0.003)
    assert process.poll() is None, process.stderr.read()
    os.kill(process.pid, signal.SIGKILL)  # the sweep alone: its workers must notice by themselves
    process.wait()
    process.stderr.close()
    return process.pid


def alive(group):
    """Processes of a group that still run."""
    found = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return [line for line in found.splitlines() if line.split()[0] == str(group) and "Z" not in line.split()[1]]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sweep_killed_twice_at_random_moments_gives_the_same_dataset(workers, tmp_path):
    rng = random.Random()
    first = rng.randrange(1, 12)
    second = rng.randrange(first + 1, 26)
    options = ("--workers", str(workers))
    groups = [kill_after(tmp_path, count, *options) for count in (first, second)]
    assert not (tmp_path / DATASET).exists()
    there = lines(tmp_path)
    assert second <= there < POINTS, (first, second, there)
    outcome = run(plan(), tmp_path, workers=workers)
    assert outcome.measured == POINTS - there
    assert_whole(outcome.dataset)
    with xr.open_dataset(tmp_path / DATASET, engine="h5netcdf") as written:
        assert_whole(written)
    end = time.monotonic() + 10
    while any(alive(group) for group in groups) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(alive(group) for group in groups)  # no worker outlives its sweep


def test_processes_and_one_process_agree(tmp_path):
    assert_whole(run(plan(), tmp_path / "one").dataset)
    assert_whole(run(plan(), tmp_path / "two", workers=2).dataset)


def test_what_is_there_is_not_measured_again(tmp_path):
    assert run(plan(), tmp_path).measured == POINTS
    before = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / DATASET).unlink()
    outcome = run(plan(), tmp_path)
    assert outcome.measured == 0
    assert (tmp_path / JOURNAL).read_bytes() == before
    assert_whole(outcome.dataset)


@pytest.mark.parametrize("cut", [1, 20, 90])
def test_a_torn_last_line_is_measured_again(cut, tmp_path):
    run(plan(), tmp_path)
    journal = tmp_path / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-cut])
    outcome = run(plan(), tmp_path)
    assert outcome.measured == 1
    assert lines(tmp_path) == POINTS
    assert_whole(outcome.dataset)


def test_a_damaged_line_is_refused_and_named(tmp_path):
    run(plan(), tmp_path)
    journal = tmp_path / JOURNAL
    text = journal.read_bytes().replace(b'"root":1.0', b'"root":1.5', 1)  # one bit of a number
    journal.write_bytes(text)
    with pytest.raises(DataError, match=r"points.log: line 2 is damaged"):
        run(plan(), tmp_path)
    assert journal.read_bytes() == text
    kept = text.splitlines(keepends=True)
    journal.write_bytes(b"".join([*kept[:1], *kept[2:]]))  # as the message says
    assert_whole(run(plan(), tmp_path).dataset)


def test_another_sweep_is_not_gone_on_with(tmp_path):
    run(plan(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    others = {
        "its axes differ": plan("seed=0,1"),
        "it measures something else": plan(measure="sweep_tasks:choosy"),
        "its spec differs": make_plan({"model": {"gain": 2.0}}, plan().axes, ["sweep_tasks:cheap"]),
    }
    for words, other in others.items():
        with pytest.raises(DataError, match=words):
            run(other, tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    manifest["versions"]["jax"] = "0.0.1"
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"jax 0\.0\.1 then, .* now"):
        run(plan(), tmp_path)
    (tmp_path / MANIFEST).unlink()
    with pytest.raises(DataError, match=r"has points.log but no sweep.json"):
        run(plan(), tmp_path)
    del before[MANIFEST]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_changed_text_is_not_gone_on_with(tmp_path):
    text = tmp_path / "text.txt"

    def sweep():
        return make_plan({"data": {"text": str(text)}}, [parse_axis("seed=0,1")], ["sweep_tasks:cheap"])

    text.write_text("abc" * 50)
    run(sweep(), tmp_path / "out")
    text.write_text("abd" * 50)
    with pytest.raises(DataError, match="files that its specs name have changed"):
        run(sweep(), tmp_path / "out")


def test_two_sweeps_do_not_write_into_one_folder(tmp_path):
    process = subprocess.Popen(command(tmp_path), env=environment("0.3"), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        end = time.monotonic() + 60
        while lines(tmp_path) < 1 and time.monotonic() < end:
            time.sleep(0.01)
        with pytest.raises(DataError, match="another sweep is writing here"):
            run(plan(), tmp_path)
    finally:
        process.kill()
        process.wait()
    assert_whole(run(plan(), tmp_path).dataset)  # the lock went with its holder


def test_a_full_disk_leaves_whole_lines_and_is_gone_on_with(tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500)); "
    words = command(tmp_path)
    words[2] = limit + words[2]
    done = subprocess.run(words, env=environment("0"), capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert f"{tmp_path / JOURNAL}: cannot write the file" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [JOURNAL, MANIFEST]
    text = (tmp_path / JOURNAL).read_bytes()
    assert text.endswith(b"\n")
    assert 1000 < len(text) <= 1500
    outcome = run(plan(), tmp_path)
    assert outcome.measured == POINTS - text.count(b"\n")
    assert_whole(outcome.dataset)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot make the folder"):
        run(plan(), tmp_path / "file" / "sweep")


def test_a_worker_that_is_killed_is_replaced_and_its_point_tried_again(tmp_path, monkeypatch):
    monkeypatch.setenv("SWEEP_MARK", str(tmp_path / "mark"))
    outcome = run(plan("seed=0,1,2,3", measure="sweep_tasks:mortal"), tmp_path / "out", workers=2)
    data = outcome.dataset
    assert (tmp_path / "mark").exists()
    assert list(data["status"].values) == ["done", "done", "failed", "done"]
    np.testing.assert_array_equal(data["seed_squared"], [0, 1, np.nan, 9])
    assert data["error"].values[2] == "its worker died 3 times: signal SIGKILL"
    assert not outcome.converged


def test_failures_are_rows_and_can_be_retried(tmp_path):
    chosen = plan("seed=0,1,2,3,4,5,6", "model.heads=2,3", measure="sweep_tasks:choosy")
    outcome = run(chosen, tmp_path)
    here = outcome.dataset.sel({"model.heads": 2})
    rows = dict(zip(map(str, here["status"].values), map(str, here["error"].values), strict=True))
    assert list(here["status"].values) == [
        "done", "failed", "unconverged", "failed", "unconverged", "failed", "failed",
    ]  # fmt: skip
    assert list(here["error"].values[1:5]) == [
        "node 'z' floats", "the free phase did not settle", "ZeroDivisionError: division by zero",
        "a solve did not converge",
    ]  # fmt: skip
    assert "'status'" in here["error"].values[5]
    assert "no number" in here["error"].values[6]
    assert rows["done"] == ""
    np.testing.assert_array_equal(here["residual"], [1e-12, np.nan, np.nan, np.nan, 0.5, np.nan, np.nan])
    assert here["only_here"].values[0] == np.inf
    refused = outcome.dataset.sel({"model.heads": 3})
    assert set(refused["status"].values) == {"invalid"}
    assert set(refused["error"].values) == {"model.heads = 3: must divide model.channels = 16"}
    assert outcome.counts == {"done": 1, "failed": 4, "unconverged": 2, "invalid": 7}
    assert not outcome.converged
    assert run(chosen, tmp_path).measured == 0
    again = run(chosen, tmp_path, retry=True)
    assert again.measured == 6
    xr.testing.assert_identical(again.dataset.drop_vars("seconds"), outcome.dataset.drop_vars("seconds"))


@pytest.fixture
def together(monkeypatch):
    """A measure of four points at a time, and how often it was called."""
    import sweep_tasks

    calls = []

    def many(specs):
        calls.append([spec.seed for spec in specs])
        if any(spec.seed == 9 for spec in specs):
            raise RuntimeError("the whole group fails")
        return [{"square": spec.seed**2} if spec.seed != 5 else ValueError("alone") for spec in specs]

    monkeypatch.setattr(sweep_tasks, "many", many, raising=False)
    monkeypatch.setattr(sweep_tasks, "single", lambda spec: {"square": -(spec.seed**2)}, raising=False)
    monkeypatch.setitem(MEASURES, "together", Measure("sweep_tasks:single", "sweep_tasks:many", 4))
    return calls


def test_points_measured_together_are_the_same_groups_whatever_is_there(together, tmp_path):
    chosen = plan("seed=0:10:11", measure="together")
    data = run(chosen, tmp_path).dataset
    assert together == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    np.testing.assert_array_equal(data["square"], [0, 1, 4, 9, 16, np.nan, 36, 49, -64, -81, -100])
    assert data["error"].values[5] == "ValueError: alone"
    text = (tmp_path / JOURNAL).read_bytes().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_bytes(b"".join(text[:6]))  # killed within the second group
    together.clear()
    again = run(chosen, tmp_path)
    assert together == [[4, 5, 6, 7], [8, 9, 10]]
    assert again.measured == 7
    xr.testing.assert_identical(again.dataset.drop_vars("seconds"), data.drop_vars("seconds"))


def test_the_dataset_says_what_it_is(tmp_path):
    outcome = run(plan(), tmp_path)
    with xr.open_dataset(tmp_path / DATASET, engine="h5netcdf") as data:
        assert data["square"].dims == ("model.damping", "seed")
        assert data["square"].attrs["units"] == "g0^2"
        assert data["model.damping"].attrs["units"] == "g0"
        assert data["seconds"].attrs["units"] == "s"
        assert float(data["square"].sel({"model.damping": 8.0, "seed": 3})) == 64
        assert json.loads(data.attrs["versions"])["jax"]
        assert data.attrs["configuration_hash"] == outcome.plan.digest
        assert len(data.attrs["commit"]) in (4, 40)
        xr.testing.assert_identical(data.load(), outcome.dataset)


def test_workers_and_a_scheduler_exclude_each_other(tmp_path):
    with pytest.raises(SpecError, match="not both"):
        run(plan(), tmp_path, workers=2, scheduler="tcp://127.0.0.1:1")


def test_no_scheduler_at_the_address(tmp_path, monkeypatch):
    monkeypatch.setattr(executors, "ANSWER", 0.5)
    with pytest.raises(MissingToolError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        run(plan(), tmp_path, scheduler="tcp://127.0.0.1:9")
