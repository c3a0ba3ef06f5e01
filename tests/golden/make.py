"""Golden results of netlists/*.cir, from ngspice alone: python tests/golden/make.py [deck ...].

Each analysis of a deck runs by itself, with tight tolerances. What is kept: the vectors of its `.print` line (all nodes
for an operating point without one), at about ten points spread over the sweep, and the deck's `.meas` results. A
transient runs with its largest step divided by 8 and by 16, and `uncertainty` is the difference of the two.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from analogep.netlist.spice.raw import Plot, read_raw

HERE = Path(__file__).parent
DECKS = HERE.parents[1] / "netlists"
TIGHT = ".options reltol=1e-7 abstol=1e-15 vntol=1e-10 chgtol=1e-20 trtol=1 method=trap itl1=500 itl4=100"
# Where TIGHT ends with "timestep too small" (bridge: diodes turn off; CMOS: Meyer capacitances), each is tried in turn.
LOOSER = ".options reltol=1e-6 abstol=1e-13 vntol=1e-9 chgtol=1e-16 trtol=1 method=trap itl1=500 itl4=100"
LOOSEST = ".options reltol=1e-5 abstol=1e-12 vntol=1e-8 chgtol=1e-15 trtol=1 method=trap itl1=500 itl4=100"
KINDS = ("op", "dc", "ac", "tran", "noise")
SUFFIXES = {"meg": 1e6, "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3}
POINTS = {"op": 1, "dc": 9, "ac": 9, "noise": 7, "tran": 12}


def statements(text: str) -> list[str]:
    """The deck's logical lines after its title: no comments, continuations joined."""
    lines: list[str] = []
    for line in text.splitlines()[1:]:
        if line.startswith("+"):
            lines[-1] += " " + line[1:].strip()
        elif line.strip() and not line.startswith("*"):
            lines.append(line.strip())
    return lines


def kind_of(line: str) -> str:
    """Analysis that a line asks for ("" if none)."""
    word = line.split()[0].lower()
    return word[1:] if word.startswith(".") and word[1:] in KINDS else ""


def alone(text: str, analysis: str, divide: int, options: str) -> str:
    """The deck with one of its analyses, tight options, and only the measurements of that analysis."""
    kept = []
    for line in statements(text):
        word, kind = line.split()[0].lower(), kind_of(line)
        measured = word in (".meas", ".measure") and line.split()[1].lower() != kind_of(analysis)
        if word in (".print", ".options", ".end") or measured or (kind and line != analysis):
            continue
        kept.append(finer(line, divide) if kind == "tran" else line)
    return "\n".join([text.splitlines()[0], *kept, options, ".save all", ".end", ""])


def finer(line: str, divide: int) -> str:
    """A .tran line with its largest step (fourth number) divided."""
    words = line.split()
    number, unit = re.fullmatch(r"([\d.]+)([a-z]*)", words[4]).groups()  # type: ignore[union-attr]
    words[4] = f"{float(number) / divide:.10g}{unit}"
    return " ".join(words)


def run(deck: str, raw: bool = True) -> tuple[list[Plot], str]:
    """Plots (with `raw`) and output of ngspice for a deck. With a raw file ngspice 39 takes no measurements."""
    program = shutil.which("ngspice")
    if program is None:
        raise SystemExit("ngspice is not installed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "deck.cir").write_text(deck)
        command = [program, "-b", "-n", *(["-r", "out.raw"] if raw else []), "deck.cir"]
        environment = {"HOME": name, "PATH": "/usr/bin:/bin", "LC_ALL": "C"}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        output = done.stdout + done.stderr
        if done.returncode or (raw and not (folder / "out.raw").exists()):
            raise RuntimeError(f"{deck.splitlines()[0]}: ngspice failed:\n{output[-2000:]}")
        return (read_raw(folder / "out.raw") if raw else []), output


def wanted(text: str, kind: str, plot: Plot) -> list[str]:
    """Vectors of the `.print` line of an analysis, without v(...)'s ac suffixes and in the order given."""
    for line in statements(text):
        words = re.sub(r"\s*,\s*", ",", line.lower()).split()
        if words[0] == ".print" and words[1] == kind:
            return list(dict.fromkeys(re.sub(r"^v(db|m|p|r|i)\(", "v(", word) for word in words[2:]))
    return [name for name in plot.data if name.startswith("v(") and "." not in name and "#" not in name]


def vector(plot: Plot, name: str) -> np.ndarray:
    """A vector of a plot; `v(a,b)` is a difference."""
    pair = re.fullmatch(r"v\((\w+),(\w+)\)", name)
    if pair:
        return plot.data[f"v({pair[1]})"] - plot.data[f"v({pair[2]})"]
    return plot.data[name]


def sample(times: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Cubic interpolation (four nearest points) of a waveform."""
    first = np.clip(np.searchsorted(times, at) - 2, 0, len(times) - 4)
    window = first[:, None] + np.arange(4)
    t, y = times[window], values[window]
    weights = np.ones_like(t)
    for j in range(4):
        for k in range(4):
            if k != j:
                weights[:, j] *= (at - t[:, k]) / (t[:, j] - t[:, k])
    return (weights * y).sum(axis=1)


def number_of(word: str) -> float:
    """A SPICE number."""
    number, unit = re.fullmatch(r"([-\d.e]+)(meg|[a-z]?).*", word.lower()).groups()  # type: ignore[union-attr]
    return float(number) * {"meg": 1e6, "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3}.get(
        unit, 1.0
    )


def chosen(line: str, kind: str, plot: Plot) -> np.ndarray:
    """Indices of the kept points; for two sweep variables, five of every inner sweep."""
    words = line.split()
    if kind == "dc" and len(words) > 5:
        inner = round((number_of(words[3]) - number_of(words[2])) / number_of(words[4])) + 1
        return np.concatenate([k * inner + spread(inner, 5) for k in range(plot.points // inner)])
    return spread(plot.points, POINTS[kind])


def spread(n: int, count: int) -> np.ndarray:
    """`count` indices of range(n), ends included."""
    return np.unique(np.linspace(0, n - 1, count).round().astype(int))


def rounded(values: np.ndarray) -> list | dict:
    """Ten significant digits; complex vectors as two lists."""
    if np.iscomplexobj(values):
        return {"re": rounded(values.real), "im": rounded(values.imag)}
    return [float(f"{value:.10g}") for value in values]


def measures(output: str) -> dict[str, float]:
    """Results of .meas in ngspice's output."""
    found = re.findall(r"^(\w+)\s+=\s+(-?[\d.]+e[-+]\d+)", output, re.MULTILINE)
    return {name: float(value) for name, value in found}


def analysis(text: str, line: str) -> dict:
    """One analysis of a deck: points, vectors, uncertainties and measurements, with the tightest options that work."""
    for options in (TIGHT, LOOSER):
        try:
            return _analysis(text, line, options)
        except RuntimeError as error:
            if "Timestep too small" not in str(error):
                raise
    return _analysis(text, line, LOOSEST)


def _analysis(text: str, line: str, options: str) -> dict:
    kind = kind_of(line)
    fine = alone(text, line, 16, options)
    plots = run(fine)[0]
    plot = next(p for p in plots if not p.name.startswith("Integrated"))
    x = plot.variables[0][0]
    result: dict = {"analysis": line, "kind": kind, "options": options}
    for total in (p for p in plots if p.name.startswith("Integrated")):
        result["totals"] = {name: float(f"{value[0]:.10g}") for name, value in total.data.items()}
    if kind == "tran":
        stop = number_of(line.split()[2])
        at = np.round((np.arange(POINTS[kind]) + 0.37) / POINTS[kind] * 1000) / 1000 * stop
        coarse = run(alone(text, line, 8, options))[0][0]
        names = wanted(text, kind, plot)
        waves = {name: sample(plot.data[x], vector(plot, name), at) for name in names}
        error = {name: waves[name] - sample(coarse.data[x], vector(coarse, name), at) for name in names}
        result["points"] = rounded(at)
        result["vectors"] = {name: rounded(wave) for name, wave in waves.items()}
        result["uncertainty"] = {name: float(f"{np.abs(e).max():.2g}") for name, e in error.items()}
    else:
        index = chosen(line, kind, plot)
        if kind != "op":
            result["index"], result["points"] = index.tolist(), rounded(plot.data[x].real[index])
        result["vectors"] = {name: rounded(vector(plot, name)[index]) for name in wanted(text, kind, plot)}
    found = [part for part in statements(text) if part.lower().startswith(f".meas {kind}")]
    if found:
        result["measures"] = measures(run(fine, raw=False)[1])
        missing = {part.split()[2].lower() for part in found} - set(result["measures"])
        if missing:
            raise RuntimeError(f"{text.splitlines()[0]}: no result for {', '.join(sorted(missing))}")
        again = measures(run(alone(text, line, 8, options), raw=False)[1])
        result["measure_uncertainty"] = {k: float(f"{abs(v - again[k]):.2g}") for k, v in result["measures"].items()}
    return result


def golden(deck: Path) -> dict:
    """All analyses of a deck."""
    text = deck.read_text()
    lines = [line for line in statements(text) if kind_of(line)]
    return {"deck": deck.name, "ngspice": "39", "analyses": [analysis(text, line) for line in lines]}


if __name__ == "__main__":
    for path in sorted(DECKS.glob("*.cir")):
        if len(sys.argv) == 1 or path.stem in sys.argv[1:]:
            content = json.dumps(golden(path), indent=1)
            content = re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda m: "[" + re.sub(r"\s+", " ", m[1]) + "]", content)
            (HERE / f"{path.stem}.json").write_text(content + "\n")
            print(f"{path.stem}: {len(content)} bytes")
