"""The errors that analogep raises on purpose: one clear message, and the exit code of the command line."""


class AnalogepError(Exception):
    """Base of all deliberate errors; `exit_code` is what the command line returns."""

    exit_code = 2


class SpecError(AnalogepError):
    """A spec holds an unknown key, a wrong type or a combination that cannot be built."""


class NetlistError(AnalogepError):
    """A netlist breaks an electrical or structural rule; the message names the element and the node."""


class DataError(AnalogepError):
    """Text or a checkpoint cannot be used: missing, too short, or outside the vocabulary."""


class MissingToolError(AnalogepError):
    """An external program that was asked for, such as ngspice, is not installed or did not run."""


class ConvergenceError(AnalogepError):
    """A solve that a result depends on did not converge."""

    exit_code = 3
