"""Text: loading, the vocabulary, and windows cut at random."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analogep.errors import DataError
from analogep.training.text import Vocabulary, load_text, split, windows


def test_the_default_text_is_pythons_documentation():
    text = load_text(None)
    assert len(text) > 100_000
    assert text == load_text(None)
    assert len(Vocabulary.from_text(text)) < 300


def test_a_file_is_read_as_utf8_without_byte_order_mark(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "größer\r\n".encode() * 20)
    assert load_text(path) == "größer\n" * 20


def test_unusable_files_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"none\.txt: cannot read the text: No such file"):
        load_text(tmp_path / "none.txt")
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"a" * 100 + b"\xff")
    with pytest.raises(DataError, match=r"binary\.txt: not a UTF-8 text file \(byte 100\)"):
        load_text(binary)
    short = tmp_path / "short.txt"
    short.write_text("abc")
    with pytest.raises(DataError, match=r"short\.txt: too short: 3 characters, and at least 100"):
        load_text(short)
    assert load_text(short, minimum=3) == "abc"


@given(st.text(alphabet=st.characters(), min_size=1))
def test_decoding_undoes_encoding(text):
    vocabulary = Vocabulary.from_text(text)
    numbers = vocabulary.encode(text)
    assert numbers.dtype == np.int64
    assert numbers.shape == (len(text),)
    assert vocabulary.decode(numbers) == text


def test_numbers_are_places_in_the_vocabulary_in_any_order():
    vocabulary = Vocabulary(("c", "a", "b"))
    assert vocabulary.encode("abcc").tolist() == [1, 2, 0, 0]
    assert Vocabulary.from_text("cabac").characters == ("a", "b", "c")
    assert vocabulary.encode("").shape == (0,)


def test_an_unknown_character_is_named_with_its_place():
    vocabulary = Vocabulary.from_text("abc\n")
    with pytest.raises(DataError, match=r"character 'é' at position 5 \(line 3\) is not among the 4"):
        vocabulary.encode("a\nbc\né!")


@pytest.mark.parametrize("number", [-1, 3])
def test_a_number_outside_the_vocabulary_is_refused(number):
    with pytest.raises(DataError, match=f"number {number} at position 1"):
        Vocabulary(("a", "b", "c")).decode([0, number])


@pytest.mark.parametrize("characters", [(), ("a", "a"), ("ab",), ("",)])
def test_a_vocabulary_holds_single_characters_once(characters):
    with pytest.raises(DataError, match="vocabulary"):
        Vocabulary(characters)


def test_split_keeps_every_character_in_order():
    text = "".join(map(str, range(100)))
    training, validation = split(text, 0.9)
    assert training + validation == text
    assert len(training) == 171
    with pytest.raises(DataError, match="leaves one side empty"):
        split("ab", 0.1)


def test_windows_are_contiguous_pieces_and_reach_both_ends():
    encoded = np.arange(10)
    cut = windows(encoded, 4, 500, np.random.default_rng(0))
    assert cut.shape == (500, 4)
    assert (np.diff(cut, axis=1) == 1).all()
    assert (cut.min(), cut.max()) == (0, 9)
    assert (cut == windows(encoded, 4, 500, np.random.default_rng(0))).all()


def test_a_window_may_be_the_whole_text_but_no_longer():
    rng = np.random.default_rng(0)
    assert windows(np.arange(4), 4, 2, rng).tolist() == [[0, 1, 2, 3]] * 2
    with pytest.raises(DataError, match="a window of 5 characters does not fit in a text of 4"):
        windows(np.arange(4), 5, 1, rng)
