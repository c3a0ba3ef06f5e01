"""The reference simulator: runs a deck that analogep wrote in ngspice, and reads back its raw file.

SPICE text can run commands, so a deck is checked against what analogep writes and runs with `-n` in an empty folder
that is its home. Several analyses may share a deck: with `-b -r` ngspice 39 writes them all to one raw file in the
order AC, DC sweep, operating point, transient, noise whatever their order in the deck, and two of one kind in reverse.
So plots are found by name, and `simulate.spice` puts one analysis of a kind into a deck.

Accuracy, measured with a 0.1 V step on 100 kOhm and 10 fF (tau = 1 ns), largest error over the step's height:
- linear: the largest step tmax decides, reltol 1e-3 to 1e-6 alike: with `method=trap` 2.8e-4 at tau/10, 2.9e-6 at
  tau/100, 2.6e-8 at tau/1000; `method=gear` is 4 times worse, and a `maxord` above 2 changes nothing;
- the default chgtol (1e-14 C) exceeds the whole charge (1e-15 C): step control does nothing until it is lowered;
- with a tanh source of gain 2 the default vntol (1e-6 V) stops Newton early: 8e-5 at tau/100, `ACCURATE` 1.1e-6;
- `uic` starts from the initial conditions (0 V), but the first written point is at tstep/100 or earlier, not at 0.
Use `ACCURATE` with tmax = tau/100.
"""

import functools
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from analogep.errors import ConvergenceError, MissingToolError, NetlistError
from analogep.netlist.spice.raw import Plot, read_raw

INSTALL = "install it with 'apt install ngspice', 'brew install ngspice' or 'conda install -c conda-forge ngspice'"
ACCURATE = ".options method=trap reltol=1e-9 abstol=1e-18 vntol=1e-12 chgtol=1e-24 trtol=1"
# Commands that describe a circuit or an analysis; none reads a file or runs a program.
ALLOWED_COMMANDS = frozenset(
    f".{word}"
    for word in (
        *("ac", "dc", "end", "ends", "func", "global", "ic", "model", "nodeset", "noise", "op", "option", "options"),
        *("param", "params", "print", "pz", "save", "sens", "subckt", "temp", "tf", "title", "tran"),
    )
)
# What ngspice says when an analysis did not give an answer.
FAILURES = re.compile(
    r"no convergence|timestep too small|solution failed|iteration limit|simulation\(s\) aborted|"
    r"simulation interrupted|circuit not parsed|doAnalyses:|incomplete or empty netlist",
    re.IGNORECASE,
)
# A singular matrix is overcome by gmin stepping (a cubic conductance at 0 V). Where only the last resort, a transient,
# "finished", no operating point need exist: a current into a bare capacitor gets exit code 0 and an arbitrary voltage.
SINGULAR = re.compile(r"singular matrix.*Transient op started", re.IGNORECASE | re.DOTALL)
_RESOURCES = re.compile(r"^(Total|DRAM|Maximum|Current|Shared|Text|Stack|Library|No\. of Data|Note: No compat)")
_LOG_LINES = 12
_LINE_LENGTH = 200


def find_ngspice() -> str:
    """Full path of ngspice on PATH; MissingToolError, saying how to install it, if there is none."""
    found = shutil.which("ngspice")
    if found is None:
        raise MissingToolError(f"ngspice is not installed: {INSTALL}")
    return found


@functools.cache
def _version_of(program: str) -> str:
    with tempfile.TemporaryDirectory(prefix="analogep-") as folder:
        log = run_alone([program, "--version"], Path(folder), timeout=60.0)[1]
    match = re.search(r"ngspice[- ](\d[\w.+-]*)", log)
    if match is None:
        raise MissingToolError(f"{program} --version does not look like ngspice: {log_tail(log)}")
    return match.group(1)


def version() -> str:
    """Version of the installed ngspice, such as "39"."""
    return _version_of(find_ngspice())


def run_deck(deck: str, timeout: float = 600.0) -> list[Plot]:
    """Run every analysis of a deck written by analogep.

    **Arguments:** `deck`, the full text (first line the title, last `.end`); `timeout` in seconds.
    **Returns:** one `Plot` an analysis, in ngspice's order; choose by `Plot.name`.
    **Raises:** NetlistError for text that analogep does not write, MissingToolError without ngspice, ConvergenceError
    with the end of ngspice's log when an analysis failed, was cut short or timed out.
    """
    check_deck(deck)
    program = find_ngspice()
    with tempfile.TemporaryDirectory(prefix="analogep-") as name:
        folder = Path(name)
        (folder / "deck.cir").write_text(deck if deck.endswith("\n") else deck + "\n", encoding="utf-8")
        code, log = run_alone([program, "-b", "-n", "-r", "out.raw", "deck.cir"], folder, timeout)
        raw = folder / "out.raw"
        require_answer(log, code, raw.exists())
        plots = read_raw(raw)
    return require_points(plots, log)


def require_answer(log: str, code: int, written: bool) -> None:
    """Raise ConvergenceError where ngspice's log, its exit code or a missing raw file says that there is no answer."""
    reason = _failure(log, code, written)
    if reason is not None:
        raise ConvergenceError(f"ngspice gave no solution ({reason}): {log_tail(log)}")


def require_points(plots: list[Plot], log: str) -> list[Plot]:
    """The plots, if none of them is empty."""
    empty = [plot.name for plot in plots if plot.points == 0]
    if empty:
        raise ConvergenceError(f"ngspice wrote no points for {', '.join(empty)}: {log_tail(log)}")
    return plots


def _failure(log: str, code: int, has_raw: bool) -> str | None:
    """Why the run gave no answer, or None: judged by what was said and written, not by what went to stderr."""
    if SINGULAR.search(log):
        return "singular matrix"
    if found := FAILURES.search(log):
        return found.group(0)
    if code != 0:
        return f"exit code {code}"
    return None if has_raw else "no raw file"


def check_deck(deck: str) -> None:
    """Refuse text that could make ngspice run a command or read a file; analogep writes none of it."""
    for number, line in enumerate(deck.splitlines(), start=1):
        word = line.split(maxsplit=1)[0].lower() if line.strip() else ""
        if word.startswith(".") and word not in ALLOWED_COMMANDS:
            raise NetlistError(f"deck line {number}: {word[:40]!r} is not a command that analogep writes; not run")
        # ngspice runs what follows "*#" as a command (seen), and joins a line that ends in two backslashes to the next.
        if re.match(r"shell\b|\*\s*#|\*ng_script", line.strip(), re.IGNORECASE) or re.search(r"`|\\\\\s*$", line):
            raise NetlistError(f"deck line {number}: {line.strip()[:40]!r} could run a command; not run")
        if re.search(r"process_file|d_cosim|d_process|\bfile\s*=", line, re.IGNORECASE) and word[:1] != "*":
            raise NetlistError(f"deck line {number}: {line.strip()[:40]!r} refers to a file or program; not run")


def run_alone(command: list[str], folder: Path, timeout: float) -> tuple[int, str]:
    """Exit code and log (output, then errors) of a command run in `folder`, away from the user's own settings."""
    # Without HOME ngspice 39 crashes; nothing named SPICE* or NGSPICE* is passed on.
    kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT") if key in os.environ}
    environment = kept | {"HOME": str(folder), "TMPDIR": str(folder), "LC_ALL": "C", "OMP_NUM_THREADS": "1"}
    logs = folder / "stdout.log", folder / "stderr.log"
    try:
        with logs[0].open("wb") as output, logs[1].open("wb") as errors:
            done = subprocess.run(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
                timeout=timeout, check=False,
            )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ConvergenceError(f"ngspice did not finish within {timeout:g} s") from None
    except OSError as error:
        raise MissingToolError(f"{command[0]} did not run: {error.strerror}; {INSTALL}") from error
    return done.returncode, "".join(log.read_text(encoding="utf-8", errors="replace") for log in logs)


def log_tail(log: str) -> str:
    """The last telling lines of a log: no blanks, no resource report, no repeats."""
    lines = dict.fromkeys(line.strip() for line in log.splitlines() if not _RESOURCES.match(line.strip()))
    kept = [line[:_LINE_LENGTH] for line in lines if line][-_LOG_LINES:]
    return " | ".join(kept) or "(its log is empty)"
