"""Training by local updates beside backpropagation through time, and the problem that both work on."""

from functools import cache

import numpy as np
import pytest

from analogep.errors import DataError, SpecError
from analogep.learning.nudge import rails
from analogep.spec import load_spec
from analogep.training.backprop import bptt_gradient
from analogep.training.local import descend, settled_loss, twin_gradient
from analogep.training.problem import build

TEXT = "abcde fghij abcde fghij. " * 12
SMALL = ("model.tokens=4", "model.channels=8", "model.ffn=12", "data.objective=next_token", "model.gain=0.8")
STEPS, RATE, BATCH = 6, 0.02, 4


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def spec_of(text, *more):
    return load_spec(None, [f"data.text={text}", *SMALL, *more])


@cache
def trained(folder):
    """The same start, batches and optimizer under the twin on the circuit and under a long BPTT of F(z)."""
    path = folder / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    problem = build(spec_of(path))
    compiled = problem.compiled("ideal")
    gradients = {
        "twin": (twin_gradient(compiled, problem.settle), compiled.scale.volts),
        "bptt": (bptt_gradient(problem.model, 400, 0.1), 1.0),
    }
    runs = {}
    for name, (gradient, volts) in gradients.items():
        batches = [rails(problem.batch(BATCH, stream=k), volts) for k in range(STEPS)]
        runs[name] = list(descend(gradient, problem.weights, batches, RATE))
    loss = settled_loss(compiled, problem.settle)
    held_out = rails(problem.batch(BATCH, stream=99, validation=True), compiled.scale.volts)
    return problem, runs, [float(loss(w, held_out)) for w in (problem.weights, runs["twin"][-1][1])]


@pytest.fixture(scope="module")
def learning(tmp_path_factory, quick_compilation):
    return trained(tmp_path_factory.mktemp("text"))


def test_local_updates_follow_backpropagation_step_by_step(learning):
    problem, runs, _ = learning
    for (local, weights), (digital, reference) in zip(runs["twin"], runs["bptt"], strict=True):
        assert local.converged
        assert local.loss == pytest.approx(digital.loss, rel=1e-6)
        assert set(weights) == set(problem.model.weight_shapes)
        for name, value in weights.items():
            np.testing.assert_allclose(value, reference[name], rtol=0, atol=1e-6, err_msg=name)


def test_local_updates_lower_the_loss(learning):
    _, runs, (before, after) = learning
    losses = [step.loss for step, _ in runs["twin"]]
    assert after < before - 0.1
    assert losses[-1] < losses[0]
    first, last = runs["twin"][0][1], runs["twin"][-1][1]
    assert all(np.abs(np.asarray(last[name]) - np.asarray(first[name])).max() > 0 for name in first)


def test_a_checkpoint_goes_through_the_spec(learning, tmp_path, text):
    problem, runs, _ = learning
    path = tmp_path / "trained.npz"
    weights = {name: np.asarray(value) for name, value in runs["twin"][-1][1].items()}
    problem.save(path, weights)
    again = build(spec_of(text, f"model.checkpoint={path}"))
    assert again.vocabulary == problem.vocabulary
    for name, value in weights.items():
        np.testing.assert_array_equal(again.weights[name], value)
    longer = tmp_path / "other.txt"
    longer.write_text("jihgf edcba. " * 20, encoding="utf-8")  # fewer characters: the vocabulary stays the checkpoint's
    assert len(build(spec_of(longer, f"model.checkpoint={path}")).vocabulary) == len(problem.vocabulary)


@pytest.fixture
def stored(tmp_path, text):
    """A problem and a checkpoint of its initial weights."""
    problem, path = build(spec_of(text)), tmp_path / "start.npz"
    problem.save(path, problem.weights)
    return problem, path


def test_foreign_characters_are_refused(stored, tmp_path):
    _, path = stored
    foreign = tmp_path / "foreign.txt"
    foreign.write_text("abcde fghij\nabcdeX " * 20, encoding="utf-8")
    with pytest.raises(DataError, match=r"character '\\n' at position 11 .*not among the 12 characters"):
        build(spec_of(foreign, f"model.checkpoint={path}"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("model.channels=16", r"model\.channels = 16 but the checkpoint .* trained with 8"),
        ("model.damping=2.0", r"model\.damping = 2\.0"),
        ("model.activation=relu", r"model\.activation = 'relu'"),
        ("model.layer_norm_epsilon=0.2", r"model\.layer_norm_epsilon = 0\.2"),
    ],
)
def test_a_spec_that_contradicts_its_checkpoint_is_refused(stored, text, change, words):
    with pytest.raises(SpecError, match=words) as caught:
        build(spec_of(text, f"model.checkpoint={stored[1]}", change))
    assert "--set model." in str(caught.value)


def test_a_checkpoint_overrides_the_initial_gain_and_seed(stored, text):
    problem, path = stored
    again = build(spec_of(text, f"model.checkpoint={path}", "model.gain=3.0", "seed=7"))
    for name, value in problem.weights.items():
        np.testing.assert_array_equal(again.weights[name], value)


def test_unusable_inputs_are_refused(tmp_path, text):
    with pytest.raises(DataError, match="no such checkpoint"):
        build(spec_of(text, f"model.checkpoint={tmp_path / 'absent.npz'}"))
    with pytest.raises(DataError, match="cannot read the text"):
        build(spec_of(tmp_path / "absent.txt"))
    short = tmp_path / "short.txt"
    short.write_text("abc", encoding="utf-8")
    with pytest.raises(DataError, match="too short"):
        build(spec_of(short))
    with pytest.raises(SpecError, match="reciprocity excludes causality"):
        spec_of(text, "model.asymmetry=0.0")


def test_a_seed_decides_everything(text):
    first, second, other = (build(spec_of(text, f"seed={seed}")) for seed in (3, 3, 4))
    for name, value in first.weights.items():
        np.testing.assert_array_equal(value, second.weights[name])
        assert not np.array_equal(value, other.weights[name])
    np.testing.assert_array_equal(first.batch(stream=2).inputs, second.batch(stream=2).inputs)
    assert not np.array_equal(first.batch(8, stream=2).inputs, first.batch(8, stream=3).inputs)
    assert not np.array_equal(first.batch(8).inputs, other.batch(8).inputs)
    assert first.batch(5).inputs.shape[0] == 5


def test_the_parts_of_the_text(text):
    problem = build(spec_of(text, "data.split=0.75"))
    assert len(problem.train) == int(0.75 * len(TEXT))
    assert problem.vocabulary.decode(np.concatenate([problem.train, problem.valid])) == TEXT
    assert problem.compiled().level == "parasitic"
    assert problem.compiled("ideal").level == "ideal"
    changed = {name: 2 * w for name, w in problem.weights.items()}
    np.testing.assert_allclose(
        problem.compiled("ideal", changed).netlist.arrays["query"],
        2 * problem.compiled("ideal").netlist.arrays["query"],
    )
