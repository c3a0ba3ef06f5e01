"""The second backend: PySpice's wrapper of ngspice's shared library, in a process of its own.

The library keeps global state, reads settings of the user's folder, may end its process, and calls back into Python. So
a child in an empty folder that is its home runs one deck and is gone. PySpice 1.5 raises wherever ngspice writes to
stderr or says the word error (in a title, or in a note of ngspice 42): success is judged by the log as for the program,
and what was computed is taken as it stands. Only its library interface is used: its subprocess mode, its noise spectra
and its parser do not work with ngspice 39. PySpice is GPLv3; it is imported in the child alone.
"""

from __future__ import annotations

import ctypes.util
import functools
import json
import os
import platform
import re
import sys
import tempfile
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path

import numpy as np

from analogep.errors import ConvergenceError, MissingToolError
from analogep.netlist.spice.raw import Plot
from analogep.simulate.ngspice import check_deck, log_tail, require_answer, require_points, run_alone

INSTALL = "it needs 'pip install PySpice' (the extra analogep[spice]) and 'apt install libngspice0'"
_NUMERIC = re.compile(r"V\((\d+)\)")
"""What the library calls a node whose name is a number."""
_CHILD = Path(__file__).with_name("_pyspice_child.py")
_FOLDERS = (
    Path(sys.prefix, "lib"), Path("/usr/lib", f"{platform.machine()}-linux-gnu"), Path("/usr/lib64"), Path("/usr/lib"),
    Path("/usr/local/lib"), Path("/opt/homebrew/lib"),
)  # fmt: skip
_NAMES = {
    "op": "Operating Point", "dc": "DC transfer characteristic", "ac": "AC Analysis", "tran": "Transient Analysis",
}  # fmt: skip


def find_library() -> str:
    """Path or name of ngspice's shared library, with or without its development link; MissingToolError without it.

    `NGSPICE_LIBRARY_PATH` names one that is elsewhere, as for PySpice itself.
    """
    given = os.environ.get("NGSPICE_LIBRARY_PATH")
    if given and Path(given).is_file():
        return given
    for folder in _FOLDERS:
        for pattern in ("libngspice.so", "libngspice.so.*", "libngspice*.dylib"):
            if found := sorted(folder.glob(pattern)):
                return str(found[0])
    named = ctypes.util.find_library("ngspice")
    if named is None:
        raise MissingToolError(f"ngspice's shared library is not installed: {INSTALL}")
    return named


def pyspice_version() -> str:
    """Version of the installed PySpice, without importing it; MissingToolError if there is none."""
    try:
        return package_version("PySpice")
    except PackageNotFoundError:
        raise MissingToolError(f"PySpice is not installed: {INSTALL}") from None


@functools.cache
def _described(package: str, library: str) -> str:
    plots, log = _child("", library, timeout=60.0)
    found = plots.get("version")
    if found is None:
        raise MissingToolError(f"PySpice {package} cannot load {library}: {log_tail(log)}")
    return f"{package} with the shared library of ngspice {found}"


def version() -> str:
    """What is installed and was loaded, such as "1.5 with the shared library of ngspice 39".

    Raises
    ------
    MissingToolError
        If PySpice or the library is absent or cannot be loaded.
    """
    return _described(pyspice_version(), find_library())


def run_deck(deck: str, timeout: float = 600.0) -> list[Plot]:
    """Run every analysis of a deck written by analogep through the shared library.

    Parameters
    ----------
    deck : the full text (first line the title, last `.end`).
    timeout : seconds.

    Returns
    -------
    One plot for an analysis, named and with variables named as in ngspice's raw file; noise gives two.

    Raises
    ------
    NetlistError
        For text that analogep does not write.
    MissingToolError
        Without PySpice or the library.
    ConvergenceError
        If an analysis failed, was cut short, timed out, or took its process down.
    """
    check_deck(deck)
    pyspice_version()
    found, log = _child(deck, find_library(), timeout)
    if "version" not in found:
        raise MissingToolError(f"PySpice did not start ngspice's library: {log_tail(log)}")
    require_answer(log, int(found["code"]), bool(found["plots"]))
    title = deck.split("\n", 1)[0]
    return require_points([_plot(title, name, vectors) for name, vectors in found["plots"]], log)


def _child(deck: str, library: str, timeout: float) -> tuple[dict, str]:
    """What the child found (version, code, plots), and ngspice's log."""
    with tempfile.TemporaryDirectory(prefix="analogep-") as name:
        folder = Path(name)
        (folder / "deck.cir").write_text(deck, encoding="utf-8")
        # -I: neither this package's folder nor the user's settings reach the child
        code, log = run_alone([sys.executable, "-I", str(_CHILD), library], folder, timeout)
        answer = folder / "answer.json"
        if not answer.exists():
            return {}, log
        found = json.loads(answer.read_text(encoding="utf-8"))
        log += found["log"]
        if deck and not found["finished"]:
            raise ConvergenceError(
                f"ngspice's shared library took its process down (exit code {code}): {log_tail(log)}"
            )
        if found["finished"]:
            with np.load(folder / "vectors.npz", allow_pickle=False) as arrays:
                found["plots"] = [
                    (plot, [(vector, kind, arrays[key]) for vector, kind, key in vectors])
                    for plot, vectors in found["plots"]
                ]
    return found, log


def _plot(title: str, name: str, vectors: list[tuple[str, str, np.ndarray]]) -> Plot:
    """The library's plot under the names of a raw file, its scale first."""
    kind = name.rstrip("0123456789")
    names = [vector for vector, _, _ in vectors]
    if kind == "noise":
        label = "Integrated Noise" if any(vector.startswith("onoise_total") for vector in names) else None
        label = label or "Noise Spectral Density Curves"
    else:
        label = _NAMES.get(kind, name)
    renamed = [(_raw_name(vector, sort), sort.replace("_", "-"), values) for vector, sort, values in vectors][::-1]
    scales = [entry for entry in renamed if entry[0] in ("time", "frequency") or entry[0].endswith("-sweep)")]
    ordered = scales + [entry for entry in renamed if entry not in scales]
    is_complex = any(np.iscomplexobj(values) for _, _, values in ordered)
    data = {vector: np.asarray(values, complex if is_complex else float) for vector, _, values in ordered}
    flags = ("complex",) if is_complex else ("real",)
    return Plot(title, label, flags, tuple((vector, sort) for vector, sort, _ in ordered), data)


def _raw_name(vector: str, sort: str) -> str:
    if sort == "current":
        return f"i({vector.removesuffix('#branch')})"
    number = _NUMERIC.fullmatch(vector)
    return f"v({number[1] if number else vector})" if sort == "voltage" else vector
