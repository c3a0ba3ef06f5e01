"""The demo: the main job on real text, end to end, and its report."""

from analogep.demo.page import write_report as write_report
from analogep.demo.run import demonstrate as demonstrate
