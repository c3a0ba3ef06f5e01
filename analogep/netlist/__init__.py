"""The circuit as data: buses, elements, arrays, checks and the adjoint network."""

import jax

# Conductances of 1e-5 S against residuals of 1e-17 A need double precision everywhere (see DESIGN: float64 by default).
jax.config.update("jax_enable_x64", True)
