"""Checkpoints: what is saved comes back, what is broken is refused, and a crash leaves the old file."""

import numpy as np
import pytest

from analogep.errors import DataError
from analogep.spec import Model
from analogep.training import checkpoint
from analogep.training.text import Vocabulary

VOCABULARY = Vocabulary(("b", "a", "\0", "é", "😀"))
MODEL = Model(tokens=4, damping=0.5).model_dump(mode="json")


@pytest.fixture
def weights():
    rng = np.random.default_rng(0)
    return {"attention.q": rng.normal(size=(2, 3, 4)), "bias": np.zeros(3, np.float32), "scale": np.float64(2.0)}


@pytest.fixture
def saved(tmp_path, weights):
    path = tmp_path / "model.npz"
    checkpoint.save(path, weights, VOCABULARY, model=MODEL)
    return path


def test_everything_comes_back(saved, weights):
    loaded = checkpoint.load(saved, shapes={name: np.shape(weight) for name, weight in weights.items()})
    assert loaded.weights.keys() == weights.keys()
    for name, weight in weights.items():
        assert loaded.weights[name].dtype == np.asarray(weight).dtype
        np.testing.assert_array_equal(loaded.weights[name], weight)
    assert loaded.vocabulary == VOCABULARY
    assert Model.model_validate(loaded.model) == Model(tokens=4, damping=0.5)


def test_only_the_named_file_is_written(saved):
    assert [path.name for path in saved.parent.iterdir()] == ["model.npz"]


def test_any_file_name_is_kept(tmp_path, weights):
    checkpoint.save(tmp_path / "step-10", weights, VOCABULARY, model=MODEL)
    assert checkpoint.load(tmp_path / "step-10").vocabulary == VOCABULARY


def test_a_crash_while_writing_keeps_the_old_checkpoint(saved, weights, monkeypatch):
    before = saved.read_bytes()

    def crash(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", crash)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(saved, weights, VOCABULARY, model={})
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_places_that_cannot_be_written_are_refused(tmp_path, weights):
    with pytest.raises(DataError, match="cannot write the file: No such file"):
        checkpoint.save(tmp_path / "nowhere" / "model.npz", weights, VOCABULARY, model=MODEL)


def test_weights_must_be_numbers(tmp_path):
    with pytest.raises(DataError, match="weight q is not an array of numbers"):
        checkpoint.save(tmp_path / "model.npz", {"q": np.array([None])}, VOCABULARY, model=MODEL)
    assert not list(tmp_path.iterdir())


def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"none\.npz: no such checkpoint"):
        checkpoint.load(tmp_path / "none.npz")
    foreign = tmp_path / "foreign.npz"
    for content in (b"", b"not a checkpoint", b"PK\x03\x04 not a zip"):
        foreign.write_bytes(content)
        with pytest.raises(DataError, match=r"foreign\.npz: not a checkpoint, or a corrupt one"):
            checkpoint.load(foreign)
    for arrays in ({"x": np.zeros(3)}, {"format": np.array([1, 2])}):
        np.savez(foreign, **arrays)
        with pytest.raises(DataError, match="not a checkpoint, or a corrupt one"):
            checkpoint.load(foreign)
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(DataError, match="not a checkpoint, or a corrupt one"):
        checkpoint.load(tmp_path / "array.npy")


@pytest.mark.parametrize("part", [0.3, 0.7, 0.99])
def test_truncated_files_are_refused(saved, part):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(part * len(content))])
    with pytest.raises(DataError, match="corrupt"):
        checkpoint.load(saved)


def test_a_flipped_bit_in_a_weight_is_noticed(saved, weights):
    content = bytearray(saved.read_bytes())
    content[content.find(weights["attention.q"].tobytes()) + 5] ^= 1
    saved.write_bytes(content)
    with pytest.raises(DataError, match="corrupt"):
        checkpoint.load(saved)


def test_another_format_is_refused(saved, weights, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    with pytest.raises(DataError, match="checkpoint format 1, but this version reads format 2"):
        checkpoint.load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bias": (4,)}, r"weight bias has shape \(3,\), but the model's is \(4,\)"),
        ({"gate": (1,)}, "weight gate is missing"),
        ({"bias": None}, "weight bias does not belong to this model"),
    ],
)
def test_wrong_shapes_are_refused(saved, weights, change, message):
    shapes = {name: np.shape(weight) for name, weight in weights.items()} | change
    with pytest.raises(DataError, match=message):
        checkpoint.load(saved, shapes={name: shape for name, shape in shapes.items() if shape is not None})
