"""What of a SPICE analysis is drawn: the signals that a deck asks for, else the nodes that move most."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from analogep.errors import DataError

KINDS = ("op", "dc", "ac", "tran", "noise")
COUNT = 8
"""Most curves that are chosen where the deck does not ask for any."""
_SIGNAL = re.compile(r"(v|i)(?:m|p|r|i|db)?\(([^(),]+)(?:,([^(),]+))?\)")
_QUIET = 1e-9
"""Part of the largest movement below which a node counts as still."""

Signals = Iterable[str | tuple[str, Sequence[str]]]
"""Signals for every analysis that has them, or pairs of an analysis and its signals, as in `SpiceFile.prints`."""


@dataclass(frozen=True)
class Trace:
    """One quantity over the coordinates of its analysis; `unit` is V or A."""

    name: str
    unit: str
    values: np.ndarray


def kind_of(dataset: xr.Dataset) -> str:
    """Analysis of a dataset: op, dc, ac, tran or noise.

    Raises
    ------
    DataError
        If it does not say, or holds nothing to draw.
    """
    kind = str(dataset.attrs.get("analysis", ""))
    if kind not in KINDS:
        raise DataError(f"a dataset's attribute 'analysis' is {kind!r}; figures are drawn of {', '.join(KINDS)}")
    if not dataset.data_vars:
        raise DataError(f"the {kind} dataset holds no variables")
    if len(dimensions(dataset)) not in {"op": (0,), "dc": (1, 2)}.get(kind, (1,)):
        raise DataError(f"the {kind} dataset has the dimensions {dimensions(dataset)}")
    for name, size in dataset.sizes.items():
        if not size:
            raise DataError(f"the {kind} dataset holds no points along {name}")
    return kind


def wanted(signals: Signals, datasets: Sequence[xr.Dataset]) -> list[list[str]]:
    """Signals asked of each dataset, in order and without repeats; a plain string goes wherever it is known.

    Raises
    ------
    DataError
        For text that is no signal, and signals that no dataset holds.
    """
    found: list[list[str]] = [[] for _ in datasets]
    curves = [k for k, dataset in enumerate(datasets) if dataset.attrs.get("analysis") != "noise"]
    for item in signals:
        kind, texts = ("", (item,)) if isinstance(item, str) else item
        if kind == "noise":  # spectra are always drawn
            continue
        for text in texts:
            name, parts = _parsed(text)
            if not parts:
                continue
            asked = [k for k in curves if kind in ("", datasets[k].attrs.get("analysis"))]
            holding = [k for k in asked if all(part in datasets[k] or part == "v(0)" for part in parts)]
            if asked and not holding:
                known = ", ".join(map(str, list(datasets[asked[0]].data_vars)[:8]))
                raise DataError(f"no dataset holds the signal {text!r}; the first one holds {known}")
            for k in holding:
                found[k] += [name] if name not in found[k] else []
    return found


def traces(dataset: xr.Dataset, asked: Sequence[str], count: int = COUNT) -> tuple[list[Trace], int]:
    """The signals asked for, or the `count` nodes that move most; and how many of those that move are left out."""
    every = levels(dataset, asked)
    if asked:
        return every, 0
    moved = np.array([_movement(t, dataset) for t in every])
    order = np.argsort(-moved, kind="stable")
    moving = [int(k) for k in order if moved[k] > _QUIET * moved.max()]
    chosen = sorted((moving or list(map(int, order)))[:count])
    return [every[k] for k in chosen], max(len(moving) - count, 0)


def levels(dataset: xr.Dataset, asked: Sequence[str]) -> list[Trace]:
    """The signals asked for, or all nodes but those inside devices, or all currents where there are no nodes.

    Raises
    ------
    DataError
        If there are neither.
    """
    if asked:
        return [trace(dataset, text) for text in asked]
    names = [str(name) for name in dataset.data_vars]
    nodes = [name for name in names if name.startswith("v(") and "#" not in name]
    found = nodes or [name for name in names if name.startswith("i(")]
    if not found:
        raise DataError(f"the dataset holds no v(node) and no i(element); it holds {', '.join(names[:8])}")
    return [trace(dataset, name) for name in found]


def trace(dataset: xr.Dataset, name: str) -> Trace:
    """One signal of a dataset: v(a), v(a,b), i(element), or a variable by its own name."""
    parts = (name,) if name in dataset else _parsed(name)[1]
    names = dimensions(dataset)
    values: np.ndarray = np.zeros([dataset.sizes[dimension] for dimension in names])
    for sign, part in zip((1, -1), parts, strict=False):
        if part != "v(0)":
            values = values + sign * dataset.variables[part].transpose(*names).values
    return Trace(name, "A" if name[0] == "i" else "V", values)


def dimensions(dataset: xr.Dataset) -> tuple[str, ...]:
    """Names of the dimensions that all variables but totals have; of a family the outer source first."""
    return max((tuple(map(str, dataset.variables[name].dims)) for name in dataset.data_vars), key=len, default=())


def has(dataset: xr.Dataset, name: str) -> bool:
    """Whether a dataset holds all of a signal."""
    return name in dataset or all(part in dataset or part == "v(0)" for part in _parsed(name)[1] or (name,))


def movement(values: np.ndarray) -> float:
    """Peak-to-peak of what is finite; of complex amplitudes the largest magnitude."""
    shown = np.abs(values) if np.iscomplexobj(values) else values
    finite = shown[np.isfinite(shown)]
    if not finite.size:
        return 0.0
    return float(finite.max() if np.iscomplexobj(values) else np.ptp(finite))


def steady(values: np.ndarray) -> bool:
    """Whether complex amplitudes are one number, not zero, at every frequency: a source, or proportional to one."""
    return bool(values.size > 1 and abs(values[0]) > 0 and np.allclose(values, values[0], rtol=1e-9, atol=0.0))


def _movement(one: Trace, dataset: xr.Dataset) -> float:
    """How much a node moves; zero where it only follows the input or a swept source, with an offset or without."""
    if np.iscomplexobj(one.values):
        return 0.0 if steady(one.values) else movement(one.values)
    for k, name in enumerate(dimensions(dataset) if dataset.attrs.get("analysis") == "dc" else ()):
        grid = np.expand_dims(dataset[name].values, [j for j in range(one.values.ndim) if j != k])
        if movement(one.values - grid) <= 1e-9 * np.abs(grid).max():
            return 0.0
    return movement(one.values)


def _parsed(text: str) -> tuple[str, tuple[str, ...]]:
    """Name and variables of a signal, whatever part of a complex number it is; no variables for those of noise."""
    plain = re.sub(r"\s", "", text).lower()
    if plain.startswith(("onoise", "inoise")):
        return plain, ()
    match = _SIGNAL.fullmatch(plain)
    if match is None or (match[1] == "i" and match[3]):
        raise DataError(f"{text[:60]!r} is not a signal; write v(node), v(a,b) or i(element)")
    quantity, first, second = match.groups()
    inner = f"{first},{second}" if second else first
    return f"{quantity}({inner})", tuple(f"{quantity}({node})" for node in (first, second) if node)
