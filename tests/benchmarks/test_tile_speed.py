"""Tiles with wires: effective matrix and its gradient, against badcrossbar on the same tile in the same run."""

import statistics
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogep.netlist.elimination import effective_matrix
from analogep.netlist.wires import Wires
from analogep.simulate.tile import report

pytestmark = pytest.mark.bench

SIZE, ROUNDS = 128, 5
WIRES = Wires(1.0, 1.0)


def seconds(job) -> tuple[float, object]:
    begin = time.perf_counter()
    value = job()
    return time.perf_counter() - begin, value


def rival():
    """badcrossbar without its plots, which want pycairo: `pip install --no-deps badcrossbar pathvalidate sigfig`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)
        badcrossbar = pytest.importorskip("badcrossbar")
    return badcrossbar


def tile(columns, rows):
    g = np.random.default_rng(0).uniform(1e-6, 1e-4, (columns, rows))
    cotangent = jnp.asarray(np.random.default_rng(1).normal(size=g.shape))
    matrix = jax.jit(lambda g: effective_matrix(g, WIRES))
    gradient = jax.jit(jax.grad(lambda g: jnp.sum(cotangent * effective_matrix(g, WIRES))))
    values = jnp.asarray(g)

    def ours():
        return jax.block_until_ready(matrix(values))

    def slope():
        return jax.block_until_ready(gradient(values))

    ours(), slope()  # compile
    return g, ours, slope


def test_tile_of_128_against_badcrossbar(row, benchmark):
    badcrossbar = rival()
    g, ours, slope = tile(SIZE, SIZE)
    inputs = np.eye(SIZE)
    one = np.random.default_rng(2).uniform(0.0, 0.2, (SIZE, 1))
    times: dict[str, list[float]] = {name: [] for name in ("matrix", "gradient", "one", "all")}
    for _ in range(ROUNDS):
        times["all"].append(seconds(lambda: badcrossbar.compute(inputs, 1 / g.T, r_i=1.0))[0])
        spent, solution = seconds(lambda: badcrossbar.compute(one, 1 / g.T, r_i=1.0))
        times["one"].append(spent)
        times["matrix"].append(statistics.median(seconds(ours)[0] for _ in range(5)))
        times["gradient"].append(statistics.median(seconds(slope)[0] for _ in range(5)))
    benchmark.pedantic(ours, rounds=5)
    matrix = np.asarray(ours())
    difference = np.abs(matrix @ one[:, 0] - solution.currents.output[0]).max() / np.abs(solution.currents.output).max()
    middle = {name: statistics.median(spent) for name, spent in times.items()}
    ratios = [theirs / mine for theirs, mine in zip(times["all"], times["matrix"], strict=True)]
    row(
        f"tile with wires {SIZE} x {SIZE}, effective matrix",
        f"{middle['matrix'] * 1e3:.0f} ms",
        "<= 200 ms",
        f"badcrossbar, all {SIZE} inputs: {middle['all']:.2f} s, {statistics.median(ratios):.0f}x; one input "
        f"{middle['one']:.2f} s, {middle['one'] / middle['matrix']:.1f}x; difference {difference:.0e}",
    )
    row(
        f"tile with wires {SIZE} x {SIZE}, matrix and gradient for all conductances",
        f"{middle['gradient'] * 1e3:.0f} ms",
        "<= 1000 ms",
        "badcrossbar has no gradient",
    )
    found = report(g, WIRES)
    row("its KCL, power and reciprocity errors", f"{found.kcl:.0e}, {found.power:.0e}, {found.mismatch:.0e}", "", "")


@pytest.mark.parametrize("shape", [(64, 256), (256, 64), (256, 256), (512, 512)])
def test_other_tiles(shape, row):
    _, ours, slope = tile(*shape)
    rounds = 1 if min(shape) > 256 else 5
    spent = [statistics.median(seconds(job)[0] for _ in range(rounds)) for job in (ours, slope)]
    row(
        f"tile with wires {shape[0]} x {shape[1]}, matrix; with gradient",
        f"{spent[0]:.3f} s; {spent[1]:.3f} s",
        "",
        f"{1e9 * spent[0] / (max(shape) * min(shape) ** 3):.2f} ns for each of rows x columns x shorter^2",
    )
