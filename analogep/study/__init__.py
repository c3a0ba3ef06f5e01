"""Studies: question, prediction and falsifier are written first; then a measurement, and a verdict by its numbers."""

from analogep.report.content import Picture as Picture
from analogep.study.discover import available as available
from analogep.study.discover import load as load
from analogep.study.engine import Outcome as Outcome
from analogep.study.engine import reopen as reopen
from analogep.study.engine import run as run
from analogep.study.study import Configuration as Configuration
from analogep.study.study import Part as Part
from analogep.study.study import Results as Results
from analogep.study.study import Rows as Rows
from analogep.study.study import Study as Study
from analogep.study.verdict import Answer as Answer
from analogep.study.verdict import Check as Check
from analogep.study.verdict import Verdict as Verdict
