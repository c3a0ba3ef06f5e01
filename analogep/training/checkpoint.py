"""Checkpoints: weights, vocabulary and model table in one file that is either whole or not there."""

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analogep.errors import DataError
from analogep.files import whole_file
from analogep.training.text import Vocabulary

FORMAT = 1
_WEIGHT = "weights/"

# What numpy, zipfile and json raise on a damaged file, or on another program's.
_CORRUPT = (
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    EOFError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
    DataError,
)


@dataclass(frozen=True)
class Checkpoint:
    """What is needed to go on with a model.

    `weights` maps names to arrays, `vocabulary` is that of the text it learned, `model` the spec's model table as
    plain data (`spec.model.model_dump(mode="json")`).
    """

    weights: Mapping[str, NDArray[Any]]
    vocabulary: Vocabulary
    model: Mapping[str, Any]


def save(path: Path, weights: Mapping[str, ArrayLike], vocabulary: Vocabulary, *, model: Mapping[str, Any]) -> None:
    """Write a checkpoint to one .npz file, atomically.

    The file is written under another name in the same folder and then renamed, so that a reader, or a crash, never
    meets half a checkpoint.

    Raises:
        DataError: the weights are not numbers, or the file cannot be written.
    """
    path = Path(path)
    arrays = {_WEIGHT + name: np.asarray(weight) for name, weight in weights.items()}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise DataError(f"{path}: weight {name.removeprefix(_WEIGHT)} is not an array of numbers")
    arrays["format"] = np.asarray(FORMAT)
    # Code points rather than strings: numpy drops trailing NULs from its strings.
    arrays["vocabulary"] = np.asarray([ord(character) for character in vocabulary.characters], dtype=np.uint32)
    arrays["model"] = np.asarray(json.dumps(dict(model)))
    with whole_file(path) as partial, partial.open("xb") as file:
        # Through a dict, since savez takes names as keywords and mypy would match them with its options.
        np.savez(file, **arrays)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())


def load(path: Path, *, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: file written by `save`.
        shapes: names and shapes that the model expects; None takes the file as it is.

    Raises:
        DataError: the file is missing or corrupt, or its weights do not have the expected names and shapes.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        found = int(arrays["format"])
        vocabulary = Vocabulary(tuple(chr(point) for point in arrays["vocabulary"]))
        model = dict(json.loads(arrays["model"].item()))
    except FileNotFoundError:
        raise DataError(f"{path}: no such checkpoint") from None
    except _CORRUPT as error:
        raise DataError(f"{path}: not a checkpoint, or a corrupt one ({error})") from None
    if found != FORMAT:
        raise DataError(f"{path}: checkpoint format {found}, but this version reads format {FORMAT}")
    weights = {name.removeprefix(_WEIGHT): array for name, array in arrays.items() if name.startswith(_WEIGHT)}
    if shapes is not None:
        check_shapes(path, weights, shapes)
    return Checkpoint(weights=weights, vocabulary=vocabulary, model=model)


def check_shapes(path: Path, weights: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise DataError, naming the weight, unless the weights are those of a model with these shapes."""
    if missing := sorted(shapes.keys() - weights.keys()):
        raise DataError(f"{path}: weight {missing[0]} is missing")
    if surplus := sorted(weights.keys() - shapes.keys()):
        raise DataError(f"{path}: weight {surplus[0]} does not belong to this model")
    for name, shape in shapes.items():
        if weights[name].shape != tuple(shape):
            raise DataError(f"{path}: weight {name} has shape {weights[name].shape}, but the model's is {tuple(shape)}")
