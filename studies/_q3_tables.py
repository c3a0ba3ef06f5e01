"""Numbers of study q3 read from its results, and its tables."""

from __future__ import annotations

from itertools import product

import numpy as np
import xarray as xr

from analogep.study import Results, Rows

from ._q3_figures import LABELS

AXES = {"loop_gain": "loop gain", "noise": "read noise"}
"""Axis of a measurement -> what its column is called."""


def exposure(data: xr.Dataset) -> xr.DataArray:
    """Damping times time of each cell."""
    return data.damping * data.time


def largest(values: xr.DataArray | np.ndarray) -> float:
    """NaN if one is missing."""
    return float(np.max(np.asarray(values)))


def least(values: xr.DataArray | np.ndarray) -> float:
    """NaN if one is missing."""
    return float(np.min(np.asarray(values)))


def slowest(results: Results, path: str) -> float:
    """Largest abscissa of a path whose copies have the cells' own pole, of all networks and blocks."""
    parts = [results[part] for part in ("imperfection", "block") if part in results]
    return float(np.max([largest(part.alpha.sel(path=path, ratio=1.0)) for part in parts]))


def cell_ratio(results: Results) -> float:
    """Cells of circuit and twin together over those of the circuit, largest of all circuits that have cells."""
    price = results["price"].isel(seed=0)
    price = price.sel(circuit=price.own_cells > 0)
    return largest(1 + price.price.sel(row="twin", item="cells") / price.own_cells)


def mean(values: xr.DataArray) -> float:
    """Mean over circuits and seeds; NaN if one is missing."""
    return float(values.mean(skipna=False))


def tables(results: Results) -> list[Rows]:
    """Mismatch and calibration; lag; gain; noise; the netlist; the echo; price."""
    mismatch, slow = results["mismatch"], results["imperfection"]
    count = mismatch.circuit.size * mismatch.seed.size
    return [
        Rows(
            "mismatch",
            f"The twin: mean cosines of {count} circuits each, as built and after probes (one settle of circuit and "
            "twin each; read noise 1 % of full scale, 8 bits, 1 % of every write untrimmed); a twin that does not "
            "settle counts 0. `settles`: part that settles as built. `worst`: circuit, after the last probe. "
            "`elsewhere`: trims kept, circuit held at a state that no probe saw.",
            twin_rows(mismatch),
        ),
        Rows(
            "paths",
            "The same of the other paths; REVERSED and flipped gyrators are not calibrated.",
            path_rows(mismatch),
        ),
        lags(results),
        Rows(
            "gain",
            "Mean cosine when copies have finite loop gain and the circuit has none of that.",
            mean_rows(slow.weak, "loop_gain", "weakened"),
        ),
        Rows(
            "noise",
            "Mean cosine of one reading with noise, a part of full scale.",
            mean_rows(slow.noisy, "noise", "reading"),
        ),
        Rows(
            "netlist",
            "The twin in settled phases (relative error against -G^-T dL/dv) and as a deck in ngspice (difference from "
            "a dense solve, of full scale): exact, with 20 % mismatch, and calibrated. Largest over seeds; mean "
            "cosines.",
            netlist_rows(results["netlist"]),
        ),
        Rows(
            "echo",
            "Hamiltonian echo against backpropagation, medians over seeds. `missed`: how far from its start the run "
            "that is turned back ends, over the size of the start; not a number: the run grew without bound.",
            echo_rows(results["echo"]),
            {"damping": "1/sqrt(LC)", "time": "sqrt(LC)"},
        ),
        Rows("price", "What each path adds to a circuit.", price_rows(results["price"].isel(seed=0))),
    ]


def twin_rows(data: xr.Dataset) -> list[dict[str, float]]:
    """A row for each rho and spread."""
    rows = []
    for rho, spread in product(data.rho.values, data.spread.values):
        cell = data.sel(rho=rho, spread=spread)
        rows.append(
            {"rho": float(rho), "mismatch": float(spread), **calibrated(cell, "twin")}
            | {"worst": least(cell.cosine.sel(calibrated="twin").isel(probes=-1))}
            | {"elsewhere": float(cell.elsewhere.mean())}
        )
    return rows


def path_rows(data: xr.Dataset) -> list[dict[str, float]]:
    """A row for each rho and spread."""
    rows = []
    for rho, spread in product(data.rho.values, data.spread.values):
        cell = data.sel(rho=rho, spread=spread)
        row = {"rho": float(rho), "mismatch": float(spread)}
        row |= {f"{LABELS['injection']}: {what}": value for what, value in calibrated(cell, "injection").items()}
        rows.append(row | {LABELS[p]: float(cell.built.sel(path=p).mean()) for p in ("reversed", "gyrator_flip")})
    return rows


def calibrated(cell: xr.Dataset, path: str) -> dict[str, float]:
    """A path as built and after the last two counts of probes."""
    trimmed = cell.cosine.sel(calibrated=path)
    return {
        "as built": float(cell.built.sel(path=path).mean()),
        "settles": float(cell.decays.sel(path=path).mean()),
        **{f"{int(k)} probes": float(trimmed.sel(probes=k).mean()) for k in trimmed.probes.values[-2:]},
    }


def lags(results: Results) -> Rows:
    """Abscissas and cosines over the lag, of networks and of blocks."""
    slow, named = results["imperfection"], {LABELS[path]: path for path in ("reversed", "injection", "gyrator_flip")}
    rows: list[dict[str, float | str]] = []
    for rho, ratio in product(slow.rho.values, slow.ratio.values):
        row: dict[str, float | str] = {"system": f"network, rho {rho:g}", "lag/tau_cell": float(ratio)}
        for label, path in named.items():
            cell = slow.sel(rho=rho, ratio=ratio, path=path)
            row |= {f"alpha, {label}": largest(cell.alpha), f"cosine, {label}": mean(cell.late)}
        rows.append(row)
    if "block" in results:
        alpha = results["block"].alpha
        for kind, ratio in product(alpha.attention.values, alpha.ratio.values):
            cell = alpha.sel(attention=kind, ratio=ratio)
            row = {"system": f"block, {kind} attention", "lag/tau_cell": float(ratio)}
            rows.append(row | {f"alpha, {LABELS[str(p)]}": largest(cell.sel(path=p)) for p in alpha.path.values})
    caption = "Exact copies whose currents lag: largest alpha, and mean cosine after the wait (networks only)."
    return Rows("lag", caption, rows, {f"alpha, {label}": "1/tau" for label in named})


def mean_rows(data: xr.DataArray, over: str, kinds: str) -> list[dict[str, float]]:
    """A row for each rho and value of `over`, with the mean for each of `kinds`."""
    return [
        {"rho": float(rho), AXES[over]: float(value)}
        | {str(kind): mean(data.sel({"rho": rho, over: value, kinds: kind})) for kind in data[kinds].values}
        for rho, value in product(data.rho.values, data[over].values)
    ]


def netlist_rows(data: xr.Dataset) -> list[dict[str, float]]:
    """A row for each rho and damping."""
    rows = []
    for rho, damping in product(data.rho.values, data.damping.values):
        cell = data.sel(rho=rho, damping=damping)
        row = {"rho": float(rho), "damping": float(damping), "phase error": largest(cell.error)}
        row |= {f"ngspice, {twin}": largest(cell.spice.sel(twin=twin)) for twin in data.twin.values}
        rows.append(row | {f"cosine, {twin}": mean(cell.cosine.sel(twin=twin)) for twin in data.twin.values[1:]})
    return rows


def echo_rows(data: xr.Dataset) -> list[dict[str, float]]:
    """A row for each damping and time."""
    rows = []
    for damping, time in product(data.damping.values, data.time.values):
        cell = data.sel(damping=damping, time=time).median("seed")
        row = {"damping": float(damping), "time": float(time), "product": float(damping * time)}
        for kind, what in product(data.echo.values, ("error", "cosine", "missed")):
            row[f"{what}, {kind}"] = float(cell[what].sel(echo=kind))
        rows.append(row)
    return rows


def price_rows(price: xr.Dataset) -> list[dict[str, float | str]]:
    """A row for each circuit and path that it has."""
    rows = []
    for circuit, path in product(price.circuit.values, price.row.values):
        cell = price.sel(circuit=circuit, row=path)
        if np.isfinite(cell.price).all():
            row = {"circuit": str(circuit), "own cells": float(cell.own_cells), "path": LABELS[str(path)]}
            rows.append(row | {str(i).replace("_", " "): int(cell.price.sel(item=i)) for i in price.item.values})
    return rows
