"""The study engine: resumes, refuses, judges by the file alone; and every study of `studies/`, quick."""

import json
import math
import re
import shlex
import subprocess
import sys
import time
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from analogep.errors import DataError, SpecError
from analogep.plot.spread import spread
from analogep.report import Report
from analogep.study import (
    Answer,
    Check,
    Configuration,
    Part,
    Verdict,
    available,
    load,
    reopen,
    run,
)
from analogep.study.glossary import words
from analogep.study.page import write_page, write_pages
from analogep.study.provenance import commit
from analogep.study.results import ResultFile

TOY = '''
"""A study of a parabola."""

import numpy as np
import xarray as xr
from analogep.plot.style import dressed
from analogep.study import Answer, Check, Configuration, Part, Picture, Rows, Study, Verdict


class Config(Configuration):
    slopes: tuple[float, ...] = (1.0, 2.5)
    words: tuple[str, ...] = ("a", "long")
    limit: float = 1.0


def measure(config, seed, slope, word):
    times = np.arange(3.0)
    height = ("time", slope * times**2 + seed, {"units": "m"})
    return xr.Dataset({"height": height, "letters": len(word)}, {"time": times})


def verdict(results):
    worst = float(results["parabola"].height.max())
    return Verdict(
        [Check("it stays low", worst, "<=", 5.0, "m")],
        [Check("it goes through the roof", worst, ">=", 100.0, "m")],
        Answer(f"engineering: {worst:g} m", "yes", "throw a ball"),
        [Check("it flies", worst, ">=", 1.0)],
    )


def tables(results):
    found = results["parabola"].height.max("time")
    rows = [{"slope": float(s), "worst": float(found.sel(slope=s).max())} for s in found.slope]
    return [Rows("heights", "Largest heights.", rows, {"worst": "m"})]


def figures(results):
    ax = dressed(None)
    ax.plot(results["parabola"].height.max(["slope", "word", "seed"]))
    return [Picture(ax.figure, "Heights.", "a curve", "heights")]


STUDY = Study(
    title="a parabola", question="How high?", prediction="Low.", falsifier="Very high.",
    quick=Config(seeds=(0,)), full=Config(),
    parts={"parabola": Part(lambda c: {"slope": c.slopes, "word": c.words}, measure),
           "seeds": Part(lambda c: {}, lambda c, seed: xr.Dataset({"twice": 2.0 * seed})),
           "nothing": Part(lambda c: {"word": ()}, measure)},
    verdict=verdict, tables=tables, figures=figures,
)
'''


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "toy.py"
    path.write_text(TOY, encoding="utf-8")
    return path


@pytest.fixture
def toy(script):
    return load(script)


def counted(study, monkeypatch=None, fail_at=None):
    """The study with a measurement that counts its calls, and stops at one of them."""
    calls = []
    part = study.parts["parabola"]

    def measure(config, seed, **cell):
        if fail_at is not None and len(calls) == fail_at:
            raise KeyboardInterrupt
        calls.append((seed, *cell.values()))
        return part.measure(config, seed, **cell)

    parts = {**study.parts, "parabola": Part(part.axes, measure)}
    return type(study)(**{**vars(study), "parts": parts}), calls


def test_results_are_labelled_in_the_order_of_the_axes(toy, tmp_path):
    config = toy.full.changed(["slopes=[2.5, 1.0]"])
    outcome = run(toy, config, tmp_path)
    assert set(outcome.results) == {"parabola", "seeds"}
    data = outcome.results["parabola"]
    assert dict(data.height.sizes) == {"time": 3, "slope": 2, "word": 2, "seed": 3}
    np.testing.assert_array_equal(data.slope, [2.5, 1.0])
    assert data.word.values.tolist() == ["a", "long"]
    np.testing.assert_array_equal(data.height.sel(slope=2.5, word="long", seed=2), [2.0, 4.5, 12.0])
    assert float(data.letters.sel(slope=1.0, word="long", seed=0)) == 4
    assert data.height.attrs["units"] == "m"
    np.testing.assert_array_equal(outcome.results["seeds"].twice.sel(seed=[0, 1, 2]), [0, 2, 4])
    assert outcome.measured == len(outcome.points) == 15


def test_an_interrupted_study_goes_on_where_it_stopped(toy, tmp_path):
    stopping, first = counted(toy, fail_at=5)
    with pytest.raises(KeyboardInterrupt):
        run(stopping, toy.full, tmp_path)
    (path,) = tmp_path.glob("*.nc")
    assert len(first) == 5
    assert ResultFile.open(path).parts["parabola"].sizes["point"] == 5
    going, second = counted(toy)
    outcome = run(going, toy.full, tmp_path)
    assert outcome.measured == 15 - 5
    assert not set(first) & set(second)  # nothing is measured twice
    whole = run(toy, toy.full, tmp_path / "other")
    for part, data in outcome.results.items():
        xr.testing.assert_identical(data, whole.results[part])
    assert run(going, toy.full, tmp_path).measured == 0
    again, calls = counted(toy)
    assert run(again, toy.full, tmp_path, fresh=True).measured == 15
    assert len(calls) == 12
    assert not list(tmp_path.glob(".*partial"))


def test_a_changed_configuration_starts_its_own_file(toy, tmp_path):
    run(toy, toy.quick, tmp_path)
    changed = run(toy, toy.quick.changed(["slopes=[3.0]"]), tmp_path)
    assert changed.measured == 3
    assert changed.profile == "changed"
    assert len(list(tmp_path.glob("toy-*.nc"))) == 2
    first = tmp_path / f"toy-{toy.digest(toy.quick)}.nc"
    first.replace(changed.file.path)  # a file under a name that is not its own
    with pytest.raises(DataError, match=r"another configuration than its name says.*--fresh"):
        run(toy, changed.configuration, tmp_path)


def test_an_unfinished_file_of_another_script_is_not_continued(toy, script, tmp_path):
    stopping, _ = counted(toy, fail_at=2)
    with pytest.raises(KeyboardInterrupt):
        run(stopping, toy.quick, tmp_path)
    script.write_text(TOY + "\n# another\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"2 of 5 points .* script was changed.*--fresh"):
        run(load(script), toy.quick, tmp_path)
    whole = run(load(script), toy.quick, tmp_path, fresh=True)
    assert not whole.script_changed
    script.write_text(TOY + "\n# a third\n", encoding="utf-8")
    judged = run(load(script), toy.quick, tmp_path)  # whole files are only judged again, and say so
    assert judged.measured == 0
    assert judged.script_changed
    assert judged.to_dict()["script_changed"]


def test_unfinished_results_have_no_verdict(toy, script, tmp_path):
    stopping, _ = counted(toy, fail_at=2)
    with pytest.raises(KeyboardInterrupt):
        run(stopping, toy.quick, tmp_path)
    (path,) = tmp_path.glob("*.nc")
    with pytest.raises(DataError, match=r"3 of 5 points are missing; run `analogep study toy` again"):
        reopen(path, script).results  # noqa: B018


def test_the_file_says_what_was_stated_and_with_what_it_was_made(toy, tmp_path):
    file = run(toy, toy.quick, tmp_path).file
    stored = ResultFile.open(file.path)
    for text in ("question", "prediction", "falsifier"):
        assert stored.attributes[text] == getattr(toy, text)
    assert stored.configuration == toy.quick.plain()
    assert {"python", "numpy", "xarray"} <= set(stored.versions)
    assert stored.commits == [commit()]
    assert stored.seconds > 0
    broken = tmp_path / "broken.nc"
    broken.write_bytes(b"no netCDF")
    with pytest.raises(DataError, match="cannot be read as netCDF"):
        ResultFile.open(broken)
    xr.Dataset({"a": 1.0}).to_netcdf(broken, engine="h5netcdf")
    with pytest.raises(DataError, match="not the result of a study"):
        ResultFile.open(broken)


def test_commits_are_read_from_the_repository(tmp_path):
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    inside = tmp_path / "package" / "module.py"
    assert commit(inside) == "none"
    (git / "packed-refs").write_text("# pack-refs\nabc123 refs/heads/main\nfff refs/heads/xmain\n")
    assert commit(inside) == "abc123"
    (git / "refs" / "heads" / "main").write_text("def456\n")
    assert commit(inside) == "def456"
    (git / "HEAD").write_text("0123abcd\n")
    assert commit(inside) == "0123abcd"


@pytest.mark.parametrize(
    ("prediction", "falsifier", "word", "passed"),
    [
        (0.5, 0.5, "holds", True),
        (2.0, 0.5, "not supported", False),
        (0.5, 2.0, "falsified", False),
        (2.0, 2.0, "falsified", False),
        (math.nan, 0.5, "undecided", False),
        (0.5, math.nan, "undecided", False),
        (math.nan, 2.0, "falsified", False),
        (math.inf, 0.5, "not supported", False),
    ],
)
def test_numbers_alone_decide(prediction, falsifier, word, passed):
    verdict = Verdict(
        [Check("always", 0.0, "<=", 1.0), Check("small", prediction, "<=", 1.0)],
        [Check("large", falsifier, ">=", 1.0)],
        Answer("", "", ""),
    )
    assert (verdict.word, verdict.passed) == (word, passed)
    assert verdict.to_dict()["passed"] is passed


def test_bad_input_is_refused(toy, script, tmp_path):
    for override, message in {
        "slope=3": r"slope: unknown key; this study has seeds, slopes, words, limit",
        "limit=x": r"limit = 'x'",
        "seeds=[1, 1]": r"seeds = .*different numbers",
        "seeds=[]": r"seeds",
        "limit": r"must look like key=value",
    }.items():
        with pytest.raises(SpecError, match=message):
            toy.profile("quick", [override])
    for changes, message in (
        ({"prediction": " "}, "its prediction must be stated first"),
        ({"full": toy.quick}, "needs 3 seeds"),
        ({"parts": {}}, "parts"),
        ({"quick": Configuration()}, "one class"),
    ):
        with pytest.raises(SpecError, match=message):
            type(toy)(**{**vars(toy), **changes})
    with pytest.raises(SpecError, match=r"no study 'nosuch'; there are: .*q4"):
        load("nosuch")
    with pytest.raises(SpecError, match="no such script"):
        load(tmp_path / "nosuch.py")
    script.write_text("STUDY = 3\n", encoding="utf-8")
    with pytest.raises(SpecError, match="ends with STUDY"):
        load(script)
    taken = Part(lambda c: {"rho": (1.0,)}, lambda c, seed, rho: xr.Dataset({"rho": 2.0}))
    with pytest.raises(DataError, match="may not be called 'rho'"):
        run(type(toy)(**{**vars(toy), "parts": {"bad": taken}}), toy.quick, tmp_path)
    seedy = Part(lambda c: {"seed": (1,)}, lambda c, seed: xr.Dataset({"a": 2.0}))
    with pytest.raises(DataError, match="no axis of part 'bad' may be called 'seed'"):
        run(type(toy)(**{**vars(toy), "parts": {"bad": seedy}}), toy.quick, tmp_path)


def test_the_page_is_whole_and_offline(toy, tmp_path):
    outcome = run(toy, toy.full, tmp_path)
    page = write_page(outcome, tmp_path / "page", command="analogep study toy")
    text = page.read_text(encoding="utf-8")
    links = set(re.findall(r'(?:src|href)="([^"#:]+)"', text))
    assert {"heights.png", "heights.svg", "toy.py", outcome.file.path.name, "numbers.json"} <= links
    for link in links:
        assert (page.parent / link).stat().st_size > 0, link
    assert not re.search(r'(?:src|href)="(?:https?:)?//', text)
    for said in ("How high?", "not supported", "engineering: 12 m", "throw a ball", "Very high.", "at commit"):
        assert said in text, said
    numbers = json.loads((page.parent / "numbers.json").read_text(encoding="utf-8"))
    assert numbers["tables"]["prediction"]["rows"][0]["measured"] == 12.0
    assert numbers["tables"]["prediction"]["bad"] == [[0, "true"]]
    assert numbers["tables"]["falsifier"]["bad"] == []
    quick = run(toy, toy.quick, tmp_path)
    both = write_pages([outcome, quick], {"diagnose": {"alpha": -1.0, "versions": {"jax": "0"}}}, tmp_path / "both")
    for one in (outcome, quick):
        assert f"{one.file.path.stem}: Verdict" in both.read_text(encoding="utf-8")


@pytest.fixture
def analogep(command_line):
    """analogep(words...) -> exit code, and the JSON object or what was said instead."""

    def call(*words):
        code, out, err = command_line(*words, "--json")
        return code, json.loads(out) if out else err

    return call


def test_the_verbs(analogep, script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, found = analogep("study", script, "--quick", "-o", "out")
    assert code == 1  # 10 m are more than the 5 that were predicted
    assert found["verdict"]["word"] == "not supported"
    assert found["numbers"]["heights"] == [{"slope": 1.0, "worst": 4.0}, {"slope": 2.5, "worst": 10.0}]
    assert found["seed"] == [0]
    assert found.keys() >= {"versions", "wall_seconds", "configuration", "configuration_hash", "commits", "result"}
    assert found["measured_now"] == 5
    assert Path(found["report"]).exists()
    code, again = analogep("study", script, "--quick", "-o", "out")
    assert (code, again["measured_now"]) == (1, 0)
    assert again["verdict"] == found["verdict"]
    code, low = analogep("study", script, "--set", "slopes=[0.5]", "--set", "seeds=[1]", "-o", "out")
    assert code == 0
    assert (low["profile"], low["verdict"]["word"], low["seed"]) == ("changed", "holds", [1])
    code, report = analogep("report", found["result"], low["result"], "--script", script, "-o", "both")
    assert code == 0
    assert set(report["verdicts"].values()) == {"not supported", "holds"}
    assert (tmp_path / "both" / "index.html").exists()
    code, message = analogep("report", found["result"])
    assert code == 2
    assert "no study 'toy'" in message
    code, message = analogep("study", script, "--set", "heigth=1")
    assert code == 2
    assert "unknown key" in message


def test_listing_and_reporting_need_no_jax(analogep, script, tmp_path):
    code, listed = analogep("study", "--list")
    assert code == 0
    assert [one["name"] for one in listed["studies"]] == list(available())
    result = run(load(script), load(script).quick, tmp_path).file.path
    program = (
        "import sys; from analogep.cli import main\n"
        "try: main()\n"
        "finally: print(*(m for m in ('jax', 'diffrax') if m in sys.modules))"
    )
    for said in (["study", "--list"], ["report", result, "--script", script, "-o", tmp_path / "page"]):
        done = subprocess.run([sys.executable, "-c", program, *map(str, said)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == ""


def test_the_study_of_the_docs_runs(tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "studies.md").read_text(encoding="utf-8")
    path = tmp_path / "spring.py"
    path.write_text(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], encoding="utf-8")
    study = load(path)
    outcome = run(study, study.full, tmp_path)
    assert outcome.verdict.word == "holds"
    assert len(outcome.to_dict()["numbers"]["moved"]) == 3
    write_page(outcome, tmp_path / "page")


def test_a_spread_is_the_median_within_the_range():
    values = xr.DataArray([[1.0, 8.0, 2.0], [5.0, np.nan, 6.0]], {"rho": [2.0, 1.0]}, ("rho", "seed"))
    ax = spread(values, "rho", label="error")
    (line,) = ax.get_lines()
    np.testing.assert_array_equal(line.get_xydata(), [[1.0, 5.5], [2.0, 2.0]])  # in order, without what is missing
    band = ax.collections[0].get_paths()[0].vertices
    assert {tuple(corner) for corner in band} >= {(1.0, 5.0), (1.0, 6.0), (2.0, 1.0), (2.0, 8.0)}
    with pytest.raises(DataError, match="dimensions seed and rho"):
        spread(values.expand_dims("beta"), "rho")


def test_scripts_find_their_helpers(script, tmp_path):
    helper = tmp_path / "_toy_helper.py"
    helper.write_text("LIMIT = 7.0\n", encoding="utf-8")
    script.write_text("from ._toy_helper import LIMIT\n" + TOY.replace("= 1.0\n\n", "= LIMIT\n\n", 1), encoding="utf-8")
    study = load(script)
    assert study.full.limit == 7.0
    outcome = run(study, study.quick, tmp_path)
    assert not outcome.script_changed
    helper.write_text("LIMIT = 7.0  # said\n", encoding="utf-8")
    assert outcome.script_changed
    assert (write_page(outcome, tmp_path / "page").parent / "_toy_helper.py").exists()
    # a helper that several studies share, reached through another one, counts as well
    shared = tmp_path / "_shared.py"
    shared.write_text("LIMIT = 7.0\n", encoding="utf-8")
    helper.write_text("from ._shared import LIMIT as LIMIT\n", encoding="utf-8")
    outcome = run(load(script), study.quick, tmp_path, fresh=True)
    assert not outcome.script_changed
    shared.write_text("LIMIT = 8.0\n", encoding="utf-8")
    assert outcome.script_changed
    assert (write_page(outcome, tmp_path / "page").parent / "_shared.py").exists()


def test_a_page_says_how_to_measure_it_again(toy, script, tmp_path):
    changed = run(toy, toy.full.changed(['words=["it\'s"]', "limit=2.5"]), tmp_path)
    text = unescape(write_page(changed, tmp_path / "page").read_text(encoding="utf-8"))
    command = re.search(r"<pre[^>]*><code>(.*?)</code>", text, re.DOTALL)[1].replace("\\\n", "")
    verb, name, path, *options = shlex.split(command)
    assert (verb, name, path) == ("analogep", "study", str(script))
    assert "Not the full profile" in text
    again = toy.profile("full", [option for option in options if option != "--set"])
    assert again == changed.configuration
    whole = write_page(run(toy, toy.full, tmp_path), tmp_path / "whole").read_text(encoding="utf-8")
    assert "Not the full profile" not in whole


def test_a_page_explains_its_words():
    report = Report("words", lead="Is lambda right?")
    report.section("one").paragraph("The residual of a twin.").table([{"alpha": 1.0, "alphabet": "gyrator"}])
    words(report)
    explained = [row[0].value for row in report.sections[-1].blocks[0].rows]
    assert explained == ["alpha", "residual", "lambda", "twin", "gyrator"]


@pytest.fixture(scope="module")
def quick_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("studies")


@pytest.mark.parametrize("name", list(available()))
def test_every_study_runs_quick_and_its_verdict_is_in_its_file(name, quick_folder, quick_compilation):
    study, begin = load(name), time.process_time()
    outcome = run(study, study.quick, quick_folder)
    said = outcome.to_dict()
    assert time.process_time() - begin < 20
    assert len(study.full.seeds) >= 3
    again = reopen(outcome.file.path).to_dict()  # from the file, by a script loaded anew
    for key in ("verdict", "numbers", "configuration"):
        assert json.dumps(again[key], sort_keys=True) == json.dumps(said[key], sort_keys=True), key
    assert said["verdict"]["word"] != "undecided"
    assert said["numbers"]
    assert all(rows for rows in said["numbers"].values())
    page = write_page(outcome, quick_folder / name)
    assert len(list(page.parent.glob("*.png"))) == len(study.figures(outcome.results)) >= 1
