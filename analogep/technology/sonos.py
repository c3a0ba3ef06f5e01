"""Mean drift and spread of SONOS cells, 0 ... 5 days after programming, from measurements of 128,000 devices.

Reference
---------
Agrawal et al. 2022, Fig. 10, in the fits of CrossSim's simulator/devices/custom/SONOS.py: polynomials of degree 10 for
the mean, A (1 - exp(-I / B)) for the standard deviation, of the cell's current I in nA. A cell is read at 0.1 V, so
that 1600 nA are 16 uS. Above 1400 nA the polynomials break away, to -98 ... -246 nA at 1600 nA and not in the order
of the days; there the mean shift of 1400 nA is kept (our choice).
"""

from __future__ import annotations

from analogep.technology.laws import Polynomial, Relaxation, Saturating

UNIT = 1e-8
"""Siemens of 1 nA at 0.1 V."""

SPREADS = (  # days 0 ... 5: A and B in nA
    (19.88665, 176.3115),
    (25.59102, 186.85544),
    (28.72753, 193.56834),
    (31.04318, 198.90332),
    (33.76214, 204.77023),
    (34.57909, 207.34309),
)
# fmt: off
SHIFTS = (  # days 0 ... 5: coefficients of I^0 ... I^10 in nA
    (0.0,),
    (6.83650e-01, 6.51250e-03, -4.03163e-04, 3.37944e-06, -1.87435e-08, 5.88902e-11, -1.07685e-13, 1.17751e-16,
     -7.60016e-20, 2.67255e-23, -3.94954e-27),
    (6.60925e-01, 8.60627e-03, -1.72936e-04, 7.44096e-07, -5.94866e-09, 2.36734e-11, -4.83740e-14, 5.56072e-17,
     -3.65397e-20, 1.28405e-23, -1.87450e-27),
    (1.15821e00, 1.96116e-02, -4.70807e-04, 3.67510e-06, -2.08786e-08, 6.59752e-11, -1.19499e-13, 1.28435e-16,
     -8.11574e-20, 2.78802e-23, -4.02057e-27),
    (8.72216e-01, 1.70926e-02, -2.23370e-04, 1.57526e-06, -1.32779e-08, 5.08256e-11, -1.01251e-13, 1.14633e-16,
     -7.46124e-20, 2.60559e-23, -3.78724e-27),
    (1.15294e00, 1.03149e-02, -6.05199e-05, 1.76086e-08, -6.46690e-09, 3.39044e-11, -7.53872e-14, 8.98185e-17,
     -6.00346e-20, 2.12615e-23, -3.11099e-27),
)
# fmt: on

RELAXATION = Relaxation(
    seconds=tuple(86_400.0 * day for day in range(6)),
    spreads=tuple(Saturating(a * UNIT, b * UNIT) for a, b in SPREADS),
    shifts=tuple(Polynomial(tuple(c * UNIT for c in day), UNIT, until=1400 * UNIT) for day in SHIFTS),
)
"""Errors of a written cell over time after programming."""
