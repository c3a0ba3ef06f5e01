"""Sweeps: named axes over any spec key, every point measured once, all results in one labelled dataset."""

from analogep.sweep.axes import Axis as Axis
from analogep.sweep.axes import parse_axis as parse_axis
from analogep.sweep.axes import read_axes as read_axes
from analogep.sweep.dataset import quantiles as quantiles
from analogep.sweep.engine import Outcome as Outcome
from analogep.sweep.engine import run as run
from analogep.sweep.measure import MEASURES as MEASURES
from analogep.sweep.measure import Measure as Measure
from analogep.sweep.plan import Plan as Plan
from analogep.sweep.plan import Point as Point
from analogep.sweep.plan import make_plan as make_plan
