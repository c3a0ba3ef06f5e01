"""Spec -> what a run works on: model, weights, text, batches, compiled circuit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jax
import numpy as np

from analogep.compile import Compiled, DeviceOptions, compile_lane, compile_transformer
from analogep.compile.schedule import Schedule
from analogep.errors import SpecError
from analogep.models.objective import Batch, check_objective, make_batch
from analogep.models.transformer import EquilibriumTransformer
from analogep.simulate.settle import SettleOptions
from analogep.spec import Level, Spec
from analogep.technology import preset
from analogep.training import checkpoint
from analogep.training.text import Vocabulary, load_text, split, windows


@dataclass(frozen=True, eq=False)
class Problem:
    """A spec made concrete; everything random in it follows from `spec.seed`.

    Attributes
    ----------
    weights : dimensionless, drawn or read from `model.checkpoint`.
    train, valid : character numbers of the two parts of the text.
    """

    spec: Spec
    model: EquilibriumTransformer
    weights: dict[str, np.ndarray]
    vocabulary: Vocabulary
    train: np.ndarray
    valid: np.ndarray

    def batch(self, count: int | None = None, *, stream: int = 0, validation: bool = False) -> Batch:
        """A batch of random windows; the same `stream` gives the same windows."""
        rng = np.random.default_rng([self.spec.seed, stream])
        text = self.valid if validation else self.train
        cut = windows(text, self.model.tokens + 1, count or self.spec.data.batch, rng)
        return make_batch(cut, self.spec.data.objective, self.model.vocabulary, rng)

    def compiled(
        self,
        level: Level | None = None,
        weights: Mapping[str, np.ndarray] | None = None,
        *,
        schedule: Schedule = "parallel",
    ) -> Compiled:
        """The circuit of the model, at the spec's level unless another is asked for; of one lane if `sequential`."""
        options, devices = self.spec.compile, self.spec.technology
        compiler = compile_transformer if schedule == "parallel" else compile_lane
        return compiler(
            self.model,
            weights or self.weights,
            level=level or options.level,
            scale=self.spec.technology.scale,
            epsilon=options.epsilon,
            devices=DeviceOptions(preset(devices.device).at(**devices.settings)),
        )

    @cached_property
    def settle(self) -> SettleOptions:
        """How phases settle."""
        phases = self.spec.phases
        return SettleOptions(phases.horizon, phases.approach, phases.tolerance, phases.rtol, phases.solver)

    def save(self, path: Path, weights: Mapping[str, np.ndarray]) -> None:
        """Write a checkpoint that `model.checkpoint` reads."""
        plain = self.spec.model.model_dump(mode="json", exclude={"checkpoint"})
        checkpoint.save(path, weights, self.vocabulary, model=plain)


def build(spec: Spec) -> Problem:
    """Load the text, and the checkpoint if there is one, and set the model up.

    Raises
    ------
    DataError
        Text too short, or with characters outside a checkpoint's vocabulary; a checkpoint that does not fit.
    SpecError
        An objective that this model may not have, or a spec that contradicts its checkpoint.
    """
    table = spec.model
    text = load_text(spec.data.text)
    stored = checkpoint.load(table.checkpoint) if table.checkpoint else None
    vocabulary = stored.vocabulary if stored else Vocabulary.from_text(text)
    model = EquilibriumTransformer(
        table.tokens,
        table.channels,
        table.heads,
        table.ffn,
        len(vocabulary),
        tuple(table.damping) if isinstance(table.damping, list) else table.damping,
        table.attention,
        table.asymmetry,
        table.activation,
        table.layer_norm_epsilon,
    )
    check_objective(model, spec.data.objective)
    if stored and table.checkpoint:
        _check_model(spec, stored.model)
        weights = {name: np.asarray(value, float) for name, value in stored.weights.items()}
        checkpoint.check_shapes(table.checkpoint, weights, model.weight_shapes)
    else:
        drawn = model.init(jax.random.key(spec.seed), table.gain)
        weights = {name: np.asarray(value) for name, value in drawn.items()}
    train, valid = (vocabulary.encode(part) for part in split(text, spec.data.split))
    return Problem(spec, model, weights, vocabulary, train, valid)


def _check_model(spec: Spec, stored: Mapping[str, object]) -> None:
    """Refuse a spec whose model is not the one that the checkpoint holds."""
    asked = spec.model.model_dump(mode="json", exclude={"checkpoint", "gain"})
    for key, value in asked.items():
        if key in stored and stored[key] != value:
            raise SpecError(
                f"model.{key} = {value!r} but the checkpoint {spec.model.checkpoint} was trained with "
                f"{stored[key]!r}; use --set model.{key}={stored[key]}"
            )
