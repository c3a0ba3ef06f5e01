"""What settles, what grows and what is reciprocal: read off a System's matrices and trajectories."""

from analogep.diagnostics.analyzed import Analyzed as Analyzed
from analogep.diagnostics.growth import Growth as Growth
from analogep.diagnostics.growth import growth_curve as growth_curve
from analogep.diagnostics.growth import numerical_abscissa as numerical_abscissa
from analogep.diagnostics.growth import peak_growth as peak_growth
from analogep.diagnostics.lyapunov import finite_time_lyapunov as finite_time_lyapunov
from analogep.diagnostics.panel import Panel as Panel
from analogep.diagnostics.panel import panel as panel
from analogep.diagnostics.spectrum import eigenvalues as eigenvalues
from analogep.diagnostics.spectrum import hopf_frequency as hopf_frequency
from analogep.diagnostics.spectrum import pair_frequency as pair_frequency
from analogep.diagnostics.spectrum import rightmost_pair as rightmost_pair
from analogep.diagnostics.spectrum import spectral_abscissa as spectral_abscissa
from analogep.diagnostics.splitting import asymmetry_ratio as asymmetry_ratio
from analogep.diagnostics.splitting import in_metric as in_metric
from analogep.diagnostics.splitting import norm2 as norm2
from analogep.diagnostics.splitting import rho_sinv_a as rho_sinv_a
from analogep.diagnostics.splitting import split as split
