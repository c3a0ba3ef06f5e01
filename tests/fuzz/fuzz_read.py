"""Coverage-guided fuzzing of the SPICE reader by atheris (not a dependency: `pip install atheris`).

    python tests/fuzz/fuzz_read.py -max_total_time=600

Bytes are read as a deck. Anything but a circuit or an AnalogepError is a crash; so is a deck that takes over 30 seconds
(`-timeout=30`). The decks in `netlists/` and `circuits/`, and the one of tests/test_fuzz.py, are the first corpus.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["analogep.netlist"]):
    from analogep.errors import AnalogepError
    from analogep.netlist.spice import hierarchy
    from analogep.netlist.spice.read import read
    from analogep.netlist.subcircuit import flatten

ROOT = Path(__file__).resolve().parent.parent.parent
hierarchy.MAX_ELEMENTS = 2000


def one_input(data: bytes) -> None:
    """Read one deck and flatten it."""
    with contextlib.suppress(AnalogepError):
        flatten(read(data.decode("utf-8", errors="replace") + "\n").netlist)


def corpus(folder: Path) -> None:
    """Decks to begin with."""
    sys.path.insert(0, str(ROOT / "tests"))
    from test_fuzz import DECK, FRAGMENTS

    (folder / "deck").write_text(DECK)
    for k, line in enumerate(DECK.splitlines()):
        (folder / f"line{k}").write_text(f"t\n{line}\n")
    for k, path in enumerate([*ROOT.glob("netlists/**/*.cir"), *ROOT.glob("circuits/*.lib")]):
        (folder / f"file{k}").write_bytes(path.read_bytes())
    words = (fragment.encode("ascii", errors="ignore") for fragment in FRAGMENTS)
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in words if word)
    (folder.parent / "words").write_text("".join(f'"{word}"\n' for word in escaped))


def main() -> None:
    """Fuzz with libFuzzer's options of the command line."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "corpus"
        folder.mkdir()
        corpus(folder)
        options = ["-timeout=30", "-max_len=4096", f"-dict={folder.parent / 'words'}"]
        atheris.Setup([sys.argv[0], *options, *sys.argv[1:], str(folder)], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
