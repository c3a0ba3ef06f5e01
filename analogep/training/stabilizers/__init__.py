"""What keeps a learning network at rest: by the form of its weights, by a penalty, or by projection after an update.

Everything here is about dz/dt = -leak z + W tanh(z) + drive, whose Jacobian at a state is J = -leak + W D with the
slopes D = diag(1 - tanh(z)^2) between 0 and 1. Weights come in, weights (or slopes of a penalty) go out; all of it is
written out in closed form, works under `jax.jit` and `jax.vmap`, and differentiates nothing.
"""

from analogep.training.stabilizers.abscissa import Projected as Projected
from analogep.training.stabilizers.abscissa import abscissa as abscissa
from analogep.training.stabilizers.abscissa import abscissa_gradient as abscissa_gradient
from analogep.training.stabilizers.abscissa import project_abscissa as project_abscissa
from analogep.training.stabilizers.modes import abscissa_slope as abscissa_slope
from analogep.training.stabilizers.monotone import Monotone as Monotone
from analogep.training.stabilizers.monotone import monotone_gradient as monotone_gradient
from analogep.training.stabilizers.monotone import monotone_start as monotone_start
from analogep.training.stabilizers.monotone import monotone_weights as monotone_weights
from analogep.training.stabilizers.normalization import normalize as normalize
from analogep.training.stabilizers.normalization import normalize_product as normalize_product
from analogep.training.stabilizers.normalization import row_damping as row_damping
from analogep.training.stabilizers.passive import passive_conductance as passive_conductance
from analogep.training.stabilizers.passive import passive_network as passive_network
from analogep.training.stabilizers.penalties import asymmetry_penalty as asymmetry_penalty
from analogep.training.stabilizers.penalties import log_norm_penalty as log_norm_penalty
