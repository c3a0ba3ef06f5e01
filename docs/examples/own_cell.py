"""A cell of your own: its bench in two simulators, the sensitivity of its output, and mismatch."""

from pathlib import Path

import jax

from analogep.errors import MissingToolError
from analogep.netlist.analyses import OperatingPoint
from analogep.netlist.spice.read import read
from analogep.simulate.deck import simulate_deck
from analogep.simulate.nodal.run import FileRun
from analogep.simulate.nodal.variation import file_monte_carlo, file_sensitivity

file = read(Path(__file__).with_name("squarer.cir"))
print(file.netlist.title)

# 1. the deck's own analyses, here and in ngspice
try:
    both = simulate_deck(file, "both")
    sweep = both.datasets[0]
    for one in both.agreements:
        print(f"{one.kind}: voltages differ by {one.error:.0e}, currents by {one.current_error:.0e} of full scale")
except MissingToolError as error:
    print(error)
    sweep = simulate_deck(file).datasets[0]
i_x, i_out = sweep["ix"].values, sweep["i(vo)"].values  # xarray, amperes
wrong = i_out / (i_x**2 / 10e-6) - 1
print(f"against i_x^2 / i_u: {100 * wrong.min():+.1f} ... {100 * wrong.max():+.1f} %")

# 2. how the output at 10 uA moves with each transistor's saturation current
run = FileRun(file)
saturation = [f"x1.q{k}.model.is_" for k in (1, 2, 3, 4)]
here = run.run(OperatingPoint())
now = float(here["i(vo)"])
print(f"i_out = {1e6 * now:.3f} uA ({here.attrs['method']}, {here.attrs['iterations']} steps)")
slopes = file_sensitivity(run, OperatingPoint(), saturation)["i(vo)"]  # amperes per ampere
for name in saturation:
    relative = float(slopes.sel(number=name)) * float(run.nodal.value(name)) / now
    print(f"  {name}: {relative:+.3f} % for 1 %")

# 3. a thousand cells whose transistors differ by 1 %
spread = dict.fromkeys(saturation, 0.01)
cells = file_monte_carlo(run, OperatingPoint(), spread, count=1000, key=jax.random.key(0))["i(vo)"]
mean, deviation = float(cells.mean()), float(cells.std())
print(f"1000 cells: {1e6 * mean:.3f} uA +- {100 * deviation / mean:.2f} %; independent deviations add up to 2 %")
