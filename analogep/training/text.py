"""Text as training data: load it, number its characters, cut windows out of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pydoc_data import topics

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analogep.errors import DataError


def load_text(path: Path | None = None, *, minimum: int = 100) -> str:
    """Read a text.

    Args:
        path: UTF-8 file; None for the documentation that ships with Python (about 470,000 characters of English and
            code, which every installation has and which differs a little between Python versions).
        minimum: fewest characters that are accepted.

    Raises:
        DataError: the file is missing, not UTF-8, or too short.
    """
    if path is None:
        text = "".join(topics.topics[name] for name in sorted(topics.topics))
    else:
        try:
            # utf-8-sig: a byte-order mark is not a character to be learned.
            text = Path(path).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not a UTF-8 text file (byte {error.start})") from None
        except OSError as error:
            raise DataError(f"{path}: cannot read the text: {error.strerror}") from None
    if len(text) < minimum:
        source = "Python's documentation" if path is None else path
        raise DataError(f"{source}: too short: {len(text)} characters, and at least {minimum} are needed")
    return text


@dataclass(frozen=True)
class Vocabulary:
    """The characters that a model knows; a character's number is its place in `characters`."""

    characters: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.characters:
            raise DataError("a vocabulary needs at least one character")
        for character, count in Counter(self.characters).items():
            if len(character) != 1 or count > 1:
                raise DataError(f"a vocabulary holds single characters, each once; {character!r} is not")

    @classmethod
    def from_text(cls, text: str) -> "Vocabulary":
        """The characters of a text, sorted by code point."""
        return cls(tuple(sorted(set(text))))

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> NDArray[np.int64]:
        """Numbers of the characters of `text`, shape [len(text)].

        Raises:
            DataError: names the first character that is not in the vocabulary, its position and its line.
        """
        known, wanted = _code_points("".join(self.characters)), _code_points(text)
        order = np.argsort(known)
        places = np.searchsorted(known, wanted, sorter=order)
        numbers = order[np.minimum(places, len(known) - 1)]
        unknown = np.flatnonzero(known[numbers] != wanted)
        if unknown.size:
            first = int(unknown[0])
            line = text.count("\n", 0, first) + 1
            raise DataError(
                f"character {text[first]!r} at position {first} (line {line}) is not among the {len(self)} characters "
                "of the vocabulary"
            )
        return numbers.astype(np.int64)

    def decode(self, numbers: ArrayLike) -> str:
        """The text of a sequence of numbers, shape [n]; raises DataError for a number outside the vocabulary."""
        sequence: Sequence[int] = np.asarray(numbers, dtype=np.int64).ravel().tolist()
        for position, number in enumerate(sequence):
            if not 0 <= number < len(self):
                raise DataError(f"number {number} at position {position} is outside the vocabulary of {len(self)}")
        return "".join(self.characters[number] for number in sequence)


def split(text: str, fraction: float) -> tuple[str, str]:
    """Cut a text into its first `fraction` (training) and the rest (validation); raises DataError if one is empty."""
    cut = int(len(text) * fraction)
    if not 0 < cut < len(text):
        raise DataError(f"a split at {fraction:g} of {len(text)} characters leaves one side empty")
    return text[:cut], text[cut:]


def windows(encoded: NDArray[np.integer], length: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Random contiguous windows, drawn with replacement.

    Args:
        encoded: character numbers, shape [n].
        length: characters in a window; for a next-token loss, one more than the model's tokens.
        count: number of windows.
        rng: source of the starting points.

    Returns:
        Character numbers, shape [count, length].

    Raises:
        DataError: the text is shorter than one window.
    """
    if len(encoded) < length:
        raise DataError(f"a window of {length} characters does not fit in a text of {len(encoded)}")
    starts = rng.integers(0, len(encoded) - length + 1, size=count)
    return np.asarray(encoded, dtype=np.int64)[starts[:, None] + np.arange(length)]


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
