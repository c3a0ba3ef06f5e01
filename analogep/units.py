"""The scaling between a dimensionless model and a circuit in SI units."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Physical size of one dimensionless unit.

    A state z is the voltage `volts * z`, a weight w the conductance `siemens * w`, and the state's time constant
    is `farads / siemens` at damping zero. A model simulated as written uses `Scale(1, 1, 1)`.
    """

    volts: float = 1.0
    siemens: float = 1.0
    farads: float = 1.0

    @property
    def amperes(self) -> float:
        """Current of one unit: `siemens * volts`."""
        return self.siemens * self.volts

    @property
    def seconds(self) -> float:
        """Time unit tau: `farads / siemens`."""
        return self.farads / self.siemens
