"""Axes and points of a sweep: what is read, what is refused, and hashes that mean the same everywhere."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from analogep.errors import SpecError
from analogep.spec import load_spec, parse_spec
from analogep.sweep import make_plan, parse_axis, read_axes

LAST = {"data": {"objective": "last_token"}}


def values(text):
    return [value[0] for value in parse_axis(text).values]


def test_lists_and_ranges():
    assert values("model.damping=0.5,1,2") == [0.5, 1, 2]
    assert values("model.activation=gelu, tanh") == ["gelu", "tanh"]
    assert values("model.damping=[[1, 2], [3, 4]]") == [[1, 2], [3, 4]]
    assert values("model.damping=0.5:8:4") == [0.5, 3.0, 5.5, 8.0]
    np.testing.assert_allclose(values("model.damping=0.5:8:5:log"), [0.5, 1, 2, 4, 8], rtol=1e-12)
    assert values("model.damping=0.5:8:5:log")[-1] == 8
    whole = values("model.tokens=2:16:4:log")
    assert whole == [2, 4, 8, 16]
    assert all(type(value) is int for value in whole)  # a count must be a whole number
    assert values("seed=0:1:3") == [0.0, 0.5, 1.0]


def test_the_spec_says_the_same_as_the_command_line(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(
        '[sweep]\nmeasures = ["fidelity"]\n[sweep.axes]\n"model.damping" = {from=0.5, to=8, points=5, scale="log"}\n'
        'seed = [0, 1]\n"model.tokens+model.channels" = [[4, 8], [8, 16]]\n'
    )
    sweep = load_spec(path).sweep
    assert sweep.measures == ["fidelity"]
    texts = ["model.damping=0.5:8:5:log", "seed=0,1", "model.tokens+model.channels=[[4, 8], [8, 16]]"]
    assert read_axes(sweep.axes) == [parse_axis(text) for text in texts]


def test_joined_keys_move_together():
    axes = [parse_axis("model.tokens+model.channels=[[4, 8], [8, 16]]"), parse_axis("seed=0,1,2")]
    plan = make_plan({}, axes, ["panel"])
    specs = [parse_spec(point.spec) for point in plan.points]
    assert [(s.model.tokens, s.model.channels, s.seed) for s in specs] == [
        (4, 8, 0), (4, 8, 1), (4, 8, 2), (8, 16, 0), (8, 16, 1), (8, 16, 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model.damping", "must look like"),
        ("model.damping=", "must look like"),
        ("model.damping=1:8", "damping = '1:8'"),  # no range, so a word, and no damping
        ("model.damping=1:8:0", "points = 0"),
        ("model.damping=1:8:2.5", "points = 2.5"),
        ("model.damping=0:8:3:log", "above 0"),
        ("model.damping=1:8:3:cubic", "linear or log"),
        ("model.damping=a:8:3", "from = 'a'"),
        ("model.damping={from=1, to=2}", "points = None"),
        ("model.damping={from=1, to=2, points=3, by=1}", "not 'by'"),
        ("model.damping=[1, 2", "not a list in TOML"),
        ("model.damping=[]", "no values"),
        ("model.damping=1,2,1.0", "1.0 appears twice"),
        ("model.tokens+model.channels=1,2", "one value for each of its 2 keys"),
        ("model.tokens+model.channels=[[1, 2, 3]]", "must hold 2 values"),
        ("model.tokens+model.tokens=[[1, 2]]", "joins a key to itself"),
        ("sweep.measures=1,2", "no spec key"),
        ("model.dampin=1,2", "did you mean model.damping"),
        ("seed.of=1,2", "seed = {'of': 1}"),
        ("model.heads=3,5", "must divide model.channels"),
        ("model.asymmetry=0,0.5", "reciprocity excludes causality"),
    ],
)
def test_what_is_no_axis_is_refused_before_anything_runs(text, words):
    with pytest.raises(SpecError) as caught:
        make_plan({}, [parse_axis(text)], ["panel"])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_axes_and_two_for_one_key_are_refused():
    with pytest.raises(SpecError, match="nothing to sweep"):
        make_plan({}, [], ["panel"])
    with pytest.raises(SpecError, match="two axes turn the same key"):
        make_plan({}, [parse_axis("seed=0,1"), parse_axis("seed+model.gain=[[0, 1.0]]")], ["panel"])


@pytest.mark.parametrize(
    ("name", "words"),
    [("pannel", "known are panel, fidelity"), ("json:nothing", "cannot be imported"), ("no_such_module:f", "no_such")],
)
def test_an_unknown_measure_is_refused(name, words):
    with pytest.raises(SpecError, match=words):
        make_plan({}, [parse_axis("seed=0,1")], [name])


def test_a_combination_refused_at_some_points_keeps_the_others():
    axes = [parse_axis("model.heads=1,2,3"), parse_axis("model.channels=8,12")]
    plan = make_plan({}, axes, ["panel"])
    assert [point.place for point in plan.refused] == [(2, 0)]
    assert plan.refused[0].error == "model.heads = 3: must divide model.channels = 8"
    assert plan.refused[0].label == "model.heads = 3, model.channels = 8"


def test_a_base_without_asymmetry_leaves_it_to_the_axis():
    plan = make_plan(LAST, [parse_axis("model.asymmetry=0,0.5,1")], ["panel"])
    assert [point.spec["model"]["attention"] for point in plan.points] == ["mixed"] * 3
    assert not plan.refused


def digests(tables, *axes, measures=("panel",)):
    return [point.digest for point in make_plan(tables, [parse_axis(axis) for axis in axes], list(measures)).points]


def test_hashes_follow_the_resolved_spec_alone(tmp_path):
    first = digests({}, "seed=0,1")
    assert len(set(first)) == 2
    assert digests({"model": {"damping": 1}}, "seed=0,1") == first  # the default, and 1 is 1.0
    assert digests({"model": {"attention": "free"}, "data": {}}, "seed=0,1") == first
    assert digests({"sweep": {"measures": ["fidelity"]}}, "seed=0,1") == first
    assert digests({}, "model.damping=1.0,2.0")[0] == first[0]
    assert not {*digests({"model": {"damping": 1.5}}, "seed=0,1"), *digests({}, "seed=0,1", measures=["fidelity"])} & {
        *first
    }


def test_hashes_follow_the_contents_of_files_and_not_their_place(tmp_path):
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    one.write_text("abc" * 100)
    other.write_text("abc" * 100)
    first = digests({"data": {"text": str(one)}}, "seed=0")
    assert digests({"data": {"text": str(other)}}, "seed=0") == first
    other.write_text("abd" * 100)
    assert digests({"data": {"text": str(other)}}, "seed=0") != first


def test_hashes_are_the_same_in_another_process():
    code = (
        "import json; from analogep.sweep import *; "
        "tables, axis = {'data': {'objective': 'last_token'}}, parse_axis('model.asymmetry=0.1:0.9:3'); "
        "plan = make_plan(tables, [axis], ['panel']); "
        "print(json.dumps([plan.digest, *(point.digest for point in plan.points)]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    plan = make_plan(LAST, [parse_axis("model.asymmetry=0.1:0.9:3")], ["panel"])
    assert json.loads(done.stdout) == [plan.digest, *(point.digest for point in plan.points)]


def test_coordinates_have_units_and_words_stay_words():
    labels = {key: (list(label), units) for key, label, units in parse_axis("model.damping=[1, [1, 2]]").coordinates()}
    assert labels == {"model.damping": (["1", "[1, 2]"], {})}
    ((_, numbers, attributes),) = parse_axis("compile.epsilon=0.01,0.1").coordinates()
    assert (list(numbers), attributes) == ([0.01, 0.1], {"units": "tau"})
