"""Every knob of a run as typed tables, with the rules that one table or several must keep."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, field_validator, model_validator
from pydantic_core import PydanticCustomError

from analogep.units import Scale

# Strict: a spec says 8, not "8" nor true. (A whole number is still a valid float.)
Count = Annotated[int, Field(gt=0, strict=True)]
Positive = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, lt=1, strict=True)]
Dial = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]

Attention = Literal["free", "energy", "mixed"]
Level = Literal["ideal", "parasitic", "device"]
Device = Literal["ideal", "reram", "hfo2", "pcm", "sonos", "capacitor"]

_DEFAULT_ASYMMETRY = {"free": 1.0, "energy": 0.0, "mixed": 0.5}


class Table(BaseModel):
    """A table: unknown keys are refused, values stay."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Model(Table):
    """The equilibrium transformer F(z).

    `damping` is c > 0, one number or one for each channel. `attention` and `asymmetry` may each be left out: with
    neither, the block is `free` (asymmetry 1); `asymmetry` alone means `mixed` at that value; `mixed` alone means 0.5.
    `gain` scales the initial weights; `checkpoint` is a file of trained ones. `layer_norm_epsilon` bounds the gain of
    the layer-norm cell; far below 0.1 small states become stiff (rates grow as 1 / (var + epsilon)).
    """

    tokens: Count = 8
    channels: Count = 16
    heads: Count = 2
    ffn: Count = 32
    damping: float | list[float] = 1.0
    attention: Attention = "free"
    asymmetry: Dial = 1.0
    activation: Literal["gelu", "relu", "tanh"] = "gelu"
    gain: Positive = 1.0
    layer_norm_epsilon: Positive = 0.1
    checkpoint: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _resolve_asymmetry(cls, table: Any) -> Any:
        """Fill in the one of `attention` and `asymmetry` that was left out, so that readers never meet None."""
        if not isinstance(table, Mapping):
            return table
        filled = {key: value for key, value in table.items() if value is not None or key == "checkpoint"}
        if "asymmetry" in filled:
            filled.setdefault("attention", "mixed")
        elif isinstance(attention := filled.get("attention", "free"), str):
            filled["asymmetry"] = _DEFAULT_ASYMMETRY.get(attention, 1.0)
        return filled

    @field_validator("damping", mode="before")
    @classmethod
    def _damping_is_positive(cls, damping: Any) -> Any:
        values = damping if isinstance(damping, list) else [damping]
        if not values or not all(_is_number(value) and 0 < value < float("inf") for value in values):
            raise ValueError("must be a number greater than 0, or a list of them, one for each channel")
        return damping

    @model_validator(mode="after")
    def _is_consistent(self) -> "Model":
        if self.channels % self.heads:
            raise _rule(f"model.heads = {self.heads}: must divide model.channels = {self.channels}")
        if isinstance(self.damping, list) and len(self.damping) != self.channels:
            raise _rule(f"model.damping: lists {len(self.damping)} values, but model.channels = {self.channels}")
        if self.attention != "mixed" and self.asymmetry != _DEFAULT_ASYMMETRY[self.attention]:
            fixed = _DEFAULT_ASYMMETRY[self.attention]
            raise _rule(
                f"model.asymmetry = {self.asymmetry:g}: attention '{self.attention}' has asymmetry {fixed:g} by "
                "definition; use model.attention = 'mixed' to turn the dial"
            )
        return self


class Data(Table):
    """The text and the question asked of it.

    `text` is a UTF-8 file (None: Python's own documentation), `batch` the number of windows averaged in one compared
    gradient, `split` the fraction of the text used for training.
    """

    text: Path | None = None
    objective: Literal["next_token", "last_token", "masked"] = "next_token"
    batch: Count = 1
    split: Fraction = 0.9


class Technology(Table):
    """Physical size of one dimensionless unit, in SI, and the devices of the arrays.

    `device` names a preset; the keys after it replace its settings, within the range for which its numbers hold.

    10 uS and 10 fF give a time constant tau of 1 ns; 0.1 V for a unit keeps node voltages near the 0.2 V at which
    resistive memories are read. Without `siemens` a unit is 10 uS, and for a verdict what fits the devices.
    """

    volts: Positive = 0.1
    siemens: Positive | None = None
    farads: Positive = 1e-14
    device: Device = "reram"
    gmin: Dial | None = None
    gmax: Positive | None = None
    levels: Count | None = None
    read_volts: Positive | None = None
    seconds: Dial | None = None
    kelvin: Positive | None = None
    stuck: Dial | None = None

    @property
    def settings(self) -> dict[str, float | int]:
        """What was set of the device, for `technology.preset(device).at(...)`."""
        names = ("gmin", "gmax", "levels", "read_volts", "seconds", "kelvin", "stuck")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @property
    def scale(self) -> Scale:
        """The same three numbers as the `Scale` that the compiler takes."""
        return Scale(volts=self.volts, siemens=self.siemens or 1e-5, farads=self.farads)


class Compile(Table):
    """How much of the hardware the netlist holds; `epsilon` is a cell's time constant over that of the state."""

    level: Level = "parasitic"
    epsilon: Positive = 0.1


class Phases(Table):
    """How free and nudged phases are run.

    `beta` is the nudging strength. Integration goes on for at most `horizon` time constants with relative tolerance
    `rtol`, down to the relative residual `approach`; Newton steps then polish to `tolerance`, above which a state does
    not count as settled. `solver` auto is the cascade solver for circuits with cell poles, and Tsit5 otherwise.
    """

    beta: Positive = 1e-3
    horizon: Positive = 60.0
    approach: Fraction = 1e-4
    rtol: Fraction = 1e-6
    tolerance: Fraction = 1e-10
    solver: Literal["auto", "tsit5", "cascade", "kvaerno3"] = "auto"


class Oracle(Table):
    """Backpropagation through time: `steps` Euler steps of `dt` tau on F(z).

    `circuit` also backpropagates through the settling solver of the circuit, over `horizon` time constants.
    """

    steps: Count = 150
    dt: Positive = 0.2
    circuit: StrictBool = True
    horizon: Positive = 30.0


class Training(Table):
    """Local training: `steps` updates from `batch` windows each, at learning rate `rate`."""

    steps: Count = 200
    batch: Count = 8
    rate: Positive = 0.01
    level: Level = "ideal"


class Chip(Table):
    """A chip as it comes out of the factory, which the sweep's measure `chip` draws; nothing else reads it.

    `number` says which one: all its errors follow from that and from `seed`. `devices` gives its arrays the errors of
    written devices of `technology.device`; `mismatch` is the relative spread of the gains of cells, and again of their
    small-signal copies in the adjoint path, `offset` that of cells' outputs (volts).
    """

    number: Annotated[int, Field(ge=0, strict=True)] = 0
    devices: StrictBool = True
    mismatch: Dial = 0.05
    offset: Dial = 1e-3


class Sweep(Table):
    """What `analogep sweep` varies and measures; nothing else reads it.

    An axis is a spec key, or several joined by `+` that move together, with a list of values or a range
    `{from, to, points, scale}`, whose scale is `linear` or `log`.
    """

    axes: dict[str, list[Any] | dict[str, Any]] = {}
    measures: Annotated[list[str], Field(min_length=1)] = ["panel"]


class Feasibility(Table):
    """What `analogep feasibility` builds around the circuit, and what it asks for; nothing else reads it.

    First the hardware: converters, supply, nudge, readings, schedule, spreads, and `chips` of the error budget. Then
    the limits, least (`min`) and largest (`max`) in SI units; without a value they are not asked for.
    """

    adc_bits: Annotated[int, Field(ge=2, le=16, strict=True)] = 8
    dac_bits: Annotated[int, Field(ge=2, le=16, strict=True)] = 8
    supply: Positive = 1.0
    beta: Positive = 1.0
    repeats: Count = 16
    schedule: Literal["parallel", "sequential"] = "parallel"
    mismatch: Dial = 0.05
    offset: Dial = 1e-3
    gain_error: Dial = 0.01
    flicker: Dial = 0.0
    warming: float = 0.0
    tempco: float = 0.0
    settle_seconds: Positive | None = None
    chips: Annotated[int, Field(ge=2, strict=True)] = 6
    min_cosine: Fraction | None = 0.9
    max_loss_change: Positive | None = 0.1
    max_energy_per_token: Positive | None = 1e-9
    max_energy_per_learned_token: Positive | None = None
    max_latency_per_token: Positive | None = 1e-7
    max_latency_per_step: Positive | None = None
    max_settling_time: Positive | None = 1e-7
    max_area: Positive | None = 1e-6
    min_decay: Positive | None = 0.1
    max_growth: Annotated[float, Field(ge=1, strict=True)] | None = 10.0
    max_numerical_abscissa: float | None = None
    min_nudge_to_noise: Positive | None = 1.0

    @property
    def limits(self) -> dict[str, float | None]:
        """The limits, without `min_` and `max_`."""
        named = self.model_dump()
        return {name[4:]: value for name, value in named.items() if name.startswith(("min_", "max_"))}

    @property
    def hardware(self) -> dict[str, Any]:
        """The rest but for `chips`."""
        named = self.model_dump(exclude={"chips"})
        return {name: value for name, value in named.items() if not name.startswith(("min_", "max_"))}


class Spec(Table):
    """Every knob of a run; the defaults are the built-in small block."""

    seed: Annotated[int, Field(ge=0, strict=True)] = 0
    model: Model = Model()
    data: Data = Data()
    technology: Technology = Technology()
    compile: Compile = Compile()
    phases: Phases = Phases()
    oracle: Oracle = Oracle()
    training: Training = Training()
    chip: Chip = Chip()
    sweep: Sweep = Sweep()
    feasibility: Feasibility = Feasibility()

    @model_validator(mode="after")
    def _objective_does_not_leak(self) -> "Spec":
        if self.data.objective == "next_token" and self.model.asymmetry != 1:
            raise _rule(
                f"data.objective = 'next_token': refused at model.asymmetry = {self.model.asymmetry:g}, because "
                "reciprocity excludes causality: a symmetric Jacobian lets every token feel its future, so a "
                "next-token loss at every position would read the answer; use data.objective = 'last_token' or 'masked'"
            )
        return self


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _rule(message: str) -> PydanticCustomError:
    # The message goes in as context: braces in it must not be read as a template.
    return PydanticCustomError("rule", "{message}", {"message": message})
