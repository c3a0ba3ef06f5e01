"""The equilibrium transformer as an equation: dz/dt = F(z), free, energy or mixed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from analogep.errors import SpecError
from analogep.models import layers

# One fixed order: a weight's random stream depends on its name alone, so variants drawn from one key share weights.
_WEIGHT_ORDER = (
    *("embed", "readout", "query", "key", "value", "output", "ffn_in", "ffn_out"),
    *("energy_query", "energy_key", "memory"),
)
_DEFAULT_ASYMMETRY = {"free": 1.0, "energy": 0.0, "mixed": 0.5}


@dataclass(frozen=True)
class EquilibriumTransformer:
    """F(z) = (1 - a) F_energy(z) + a F_free(z), the dimensionless specification that circuits are checked against.

    With u = LN(z), leak 1 + c and x_in = x embed^T,

        F_free   = x_in - (1 + c) z + output . softmax_causal(q k^T / sqrt(dh)) v + ffn_out . act(ffn_in u)
        F_energy = -grad E
        E        = sum (1 + c) z^2 / 2 - x_in . z - sqrt(dh) sum logsumexp_{s<=t}(k_s . q_t / sqrt(dh))
                   - sum Gamma(memory u),    Gamma' = act.

    The input x [T, V + T] is one-hot(token) beside one-hot(position). Weights are stored [out, in].

    Args:
        tokens: Sequence length T.
        channels: State width d.
        heads: Attention heads H; divides d.
        ffn: Hidden width f of the feed-forward part, and number of Hopfield memories of the energy part.
        vocabulary: Number of token classes V.
        damping: c, one number or one per channel; 1 + c > 0.
        attention: "free", "energy" or "mixed".
        asymmetry: The dial a in [0, 2]. Left out: free 1, energy 0, mixed 0.5. Free and energy allow no
            other value; above 1 (mixed only) the energy share is negative.
        activation: "gelu" (tanh form), "relu" or "tanh".
        layer_norm_epsilon: Added to the variance. The energy part has almost no radial force (LN ignores scale), so
            settled energy states may be small and then stiff: rates grow as 1 / (var + epsilon). Near 0.1 they stay
            of order 10; at 1e-5 rates near 1e3 occur.

    Raises:
        SpecError: A field is out of range or contradicts another; the message names the key.

    Reference:
        Hoover et al. 2023, "Energy Transformer" (energy part); Ramsauer et al. 2020, "Hopfield networks is all you
        need" (attention as a Hopfield update).
    """

    tokens: int
    channels: int
    heads: int
    ffn: int
    vocabulary: int
    damping: tuple[float, ...] | float
    attention: Literal["free", "energy", "mixed"] = "free"
    asymmetry: float | None = None
    activation: Literal["gelu", "relu", "tanh"] = "gelu"
    layer_norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("tokens", "channels", "heads", "ffn", "vocabulary"):
            object.__setattr__(self, name, _positive_integer(name, getattr(self, name)))
        if self.channels % self.heads:
            raise SpecError(f"model.heads: {self.heads} heads do not divide model.channels = {self.channels}")
        if self.activation not in layers.ACTIVATIONS:
            raise SpecError(f"model.activation: {self.activation!r} is not one of {', '.join(layers.ACTIVATIONS)}")
        epsilon = _finite("layer_norm_epsilon", self.layer_norm_epsilon)
        if epsilon <= 0:
            raise SpecError(f"model.layer_norm_epsilon: {epsilon} is not positive")
        # Plain floats and tuples keep the model hashable, so that jit can take it as a static argument.
        object.__setattr__(self, "layer_norm_epsilon", epsilon)
        object.__setattr__(self, "damping", _checked_damping(self.damping, self.channels))
        object.__setattr__(self, "asymmetry", _checked_asymmetry(self.attention, self.asymmetry))

    @property
    def leak(self) -> np.ndarray:
        """Leak 1 + c of every channel, float64 [d]."""
        return np.broadcast_to(1.0 + np.asarray(self.damping, dtype=np.float64), (self.channels,)).copy()

    @property
    def free_share(self) -> float:
        """Weight a of F_free."""
        assert self.asymmetry is not None  # resolved on construction
        return self.asymmetry

    @property
    def energy_share(self) -> float:
        """Weight 1 - a of F_energy; negative for a > 1."""
        return 1.0 - self.free_share

    @property
    def causal(self) -> bool:
        """Whether no token feels a later one: only without any energy part, of either sign."""
        return self.energy_share == 0

    @property
    def inputs(self) -> int:
        """Width V + T of an input row."""
        return self.vocabulary + self.tokens

    @property
    def weight_shapes(self) -> dict[str, tuple[int, int]]:
        """Shape [out, in] of every weight; a part whose share is zero has no weights."""
        d, f = self.channels, self.ffn
        shapes = {"embed": (d, self.inputs), "readout": (self.vocabulary, d)}
        if self.free_share != 0:
            shapes |= {name: (d, d) for name in ("query", "key", "value", "output")}
            shapes |= {"ffn_in": (f, d), "ffn_out": (d, f)}
        if self.energy_share != 0:
            shapes |= {"energy_query": (d, d), "energy_key": (d, d), "memory": (f, d)}
        return shapes

    def init(self, key: Array, gain: float = 1.0) -> dict[str, Array]:
        """Draw weights gain * N(0, 1 / fan_in), those of the energy part with half the gain.

        Args:
            key: JAX random key.
            gain: Scale of every weight.

        Returns:
            Weights of `weight_shapes`. The fan-in of `embed` is 2: a row of x holds two ones.
        """
        theta = {}
        for name, shape in self.weight_shapes.items():
            fan_in = 2 if name == "embed" else shape[1]
            stream = jax.random.fold_in(key, _WEIGHT_ORDER.index(name))
            # an array that is used in both directions acts twice: half the gain keeps the energy part as strong
            share = 0.5 if name in ("energy_query", "energy_key", "memory") else 1.0
            theta[name] = share * gain / math.sqrt(fan_in) * jax.random.normal(stream, shape)
        return theta

    def force(self, z: Array, x: Array, theta: Mapping[str, Array]) -> Array:
        """F(z), written out; nothing in it is obtained by differentiation.

        Args:
            z: State [T, d].
            x: Input [T, V + T].
            theta: Weights of `weight_shapes`.

        Returns:
            F(z) [T, d].

        Raises:
            SpecError: z or x has the wrong shape.
        """
        self._check_shapes(z, x)
        u, sigma = layers.layer_norm(z, self.layer_norm_epsilon)
        force = x @ theta["embed"].T - jnp.asarray(self.leak, z.dtype) * z
        if self.free_share != 0:
            force = force + self.free_share * self._free_coupling(u, theta)
        if self.energy_share != 0:
            field = self._energy_field(u, theta)
            force = force + self.energy_share * layers.layer_norm_transpose(field, u, sigma)
        return force

    def energy(self, z: Array, x: Array, theta: Mapping[str, Array]) -> Array:
        """E(z) with F = -grad E.

        Args:
            z: State [T, d].
            x: Input [T, V + T].
            theta: Weights of `weight_shapes`.

        Returns:
            The energy, a scalar.

        Raises:
            SpecError: The asymmetry is not 0, so F is no gradient; or z or x has the wrong shape.
        """
        if self.free_share != 0:
            raise SpecError(f"model.asymmetry: F is the gradient of an energy only at 0, not at {self.asymmetry}")
        self._check_shapes(z, x)
        u, _ = layers.layer_norm(z, self.layer_norm_epsilon)
        _, integral = layers.ACTIVATIONS[self.activation]
        leak = jnp.asarray(self.leak, z.dtype)
        quadratic = 0.5 * jnp.sum(leak * z**2) - jnp.sum((x @ theta["embed"].T) * z)
        query, key = self._heads(u, theta, "energy_query", "energy_key")
        return quadratic + layers.energy_attention(query, key) - integral(u @ theta["memory"].T).sum()

    def logits(self, z: Array, theta: Mapping[str, Array]) -> Array:
        """Token scores readout . LN(z): state [T, d] -> [T, V]."""
        u, _ = layers.layer_norm(z, self.layer_norm_epsilon)
        return u @ theta["readout"].T

    def _heads(self, u: Array, theta: Mapping[str, Array], *names: str) -> list[Array]:
        return [layers.split_heads(u @ theta[name].T, self.heads) for name in names]

    def _free_coupling(self, u: Array, theta: Mapping[str, Array]) -> Array:
        activation, _ = layers.ACTIVATIONS[self.activation]
        attended = layers.free_attention(*self._heads(u, theta, "query", "key", "value"))
        return attended @ theta["output"].T + activation(u @ theta["ffn_in"].T) @ theta["ffn_out"].T

    def _energy_field(self, u: Array, theta: Mapping[str, Array]) -> Array:
        # Minus the gradient of the attention and Hopfield energies with respect to u; row form of W^T f is f @ W.
        activation, _ = layers.ACTIVATIONS[self.activation]
        on_query, on_key = layers.energy_attention_force(*self._heads(u, theta, "energy_query", "energy_key"))
        hopfield = activation(u @ theta["memory"].T) @ theta["memory"]
        return on_query @ theta["energy_query"] + on_key @ theta["energy_key"] + hopfield

    def _check_shapes(self, z: Array, x: Array) -> None:
        # Without this a state of one token, or of one channel, would broadcast to a plausible wrong answer.
        if z.shape != (self.tokens, self.channels) or x.shape != (self.tokens, self.inputs):
            wanted = f"z {(self.tokens, self.channels)} and x {(self.tokens, self.inputs)}"
            raise SpecError(f"model: expected {wanted} (use jax.vmap over samples), got {z.shape} and {x.shape}")


def _positive_integer(name: str, value: object) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise SpecError(f"model.{name}: {value!r} is not a positive integer")
    return int(value)


def _finite(name: str, value: object) -> float:
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
        raise SpecError(f"model.{name}: {value!r} is not a finite number")
    return float(value)


def _checked_damping(damping: Any, channels: int) -> tuple[float, ...] | float:
    one = np.ndim(damping) == 0
    values = tuple(_finite("damping", value) for value in ([damping] if one else damping))
    if not one and len(values) != channels:
        raise SpecError(f"model.damping: {len(values)} values for model.channels = {channels}; give one, or all")
    if min(values) <= -1:
        raise SpecError(f"model.damping: the leak 1 + c must be positive, got c = {min(values)}")
    return values[0] if one else values


def _checked_asymmetry(attention: str, asymmetry: float | None) -> float:
    if attention not in _DEFAULT_ASYMMETRY:
        raise SpecError(f"model.attention: {attention!r} is not one of {', '.join(_DEFAULT_ASYMMETRY)}")
    usual = _DEFAULT_ASYMMETRY[attention]
    value = usual if asymmetry is None else _finite("asymmetry", asymmetry)
    if not 0 <= value <= 2:
        raise SpecError(f"model.asymmetry: {value} is outside [0, 2]")
    if attention != "mixed" and value != usual:
        raise SpecError(f"model.asymmetry: {value} contradicts attention = {attention!r}, which fixes it to {usual}")
    return value
