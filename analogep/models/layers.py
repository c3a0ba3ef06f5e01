"""The mathematical pieces of F(z): layer norm, causal softmax attention, activations and their integrals."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

# Beyond this |h| the tanh-form GELU is h or 0 to the last bit of float64, so its integral is h^2 / 2 + const or const.
_GELU_SATURATION = 8.0
_LEGENDRE_NODES, _LEGENDRE_WEIGHTS = np.polynomial.legendre.leggauss(96)


def layer_norm(z: Array, epsilon: float) -> tuple[Array, Array]:
    """Normalize every token over its channels, without gain or offset.

    Args:
        z: State [T, d].
        epsilon: Added to the population variance.

    Returns:
        The normalized state u [T, d] and the deviation sigma = sqrt(var + epsilon) [T, 1].

    Reference:
        Ba, Kiros, Hinton 2016, "Layer normalization", eq. 4.
    """
    centered = z - z.mean(axis=-1, keepdims=True)
    sigma = jnp.sqrt(jnp.mean(centered**2, axis=-1, keepdims=True) + epsilon)
    return centered / sigma, sigma


def layer_norm_transpose(field: Array, u: Array, sigma: Array) -> Array:
    """Apply the transposed Jacobian of layer norm: (f - mean f - u mean(u f)) / sigma.

    Args:
        field: Cotangent f at the output u, [T, d].
        u: Normalized state [T, d].
        sigma: Deviation [T, 1].

    Returns:
        Cotangent at z, [T, d]. The Jacobian of each token is symmetric, so this is its forward action as well.
    """
    projected = field - field.mean(axis=-1, keepdims=True) - u * jnp.mean(u * field, axis=-1, keepdims=True)
    return projected / sigma


def split_heads(rows: Array, heads: int) -> Array:
    """Split channels into consecutive heads: [T, d] -> [T, H, d / H]."""
    return rows.reshape(rows.shape[0], heads, -1)


def causal_scores(query: Array, key: Array) -> Array:
    """Score every earlier or equal token: k_hs . q_ht / sqrt(dh), -inf where s > t.

    Args:
        query: [T, H, dh].
        key: [T, H, dh].

    Returns:
        Scores [H, T, T], indexed (head, reader t, source s). The diagonal is finite, so no softmax row is empty.
    """
    scores = jnp.einsum("thi,shi->hts", query, key) / math.sqrt(query.shape[-1])
    return jnp.where(np.tri(query.shape[0], dtype=bool), scores, -jnp.inf)


def free_attention(query: Array, key: Array, value: Array) -> Array:
    """Causal softmax attention of independent queries, keys and values, heads concatenated.

    Args:
        query: [T, H, dh].
        key: [T, H, dh].
        value: [T, H, dh].

    Returns:
        Attended values [T, d].

    Reference:
        Vaswani et al. 2017, "Attention is all you need", eq. 1.
    """
    shares = jax.nn.softmax(causal_scores(query, key), axis=-1)
    return jnp.einsum("hts,shi->thi", shares, value).reshape(query.shape[0], -1)


def energy_attention(query: Array, key: Array) -> Array:
    """Log-sum-exp attention energy -sqrt(dh) sum_ht logsumexp_{s<=t}(k_hs . q_ht / sqrt(dh)).

    Args:
        query: [T, H, dh].
        key: [T, H, dh].

    Returns:
        The energy, a scalar.

    Reference:
        Hoover et al. 2023, "Energy Transformer", attention energy with inverse temperature 1 / sqrt(dh), here with
        the causal mask s <= t; Ramsauer et al. 2020, "Hopfield networks is all you need", for one query.
    """
    return -math.sqrt(query.shape[-1]) * jax.nn.logsumexp(causal_scores(query, key), axis=-1).sum()


def energy_attention_force(query: Array, key: Array) -> tuple[Array, Array]:
    """Negative gradient of `energy_attention` with respect to queries and keys.

    Args:
        query: [T, H, dh].
        key: [T, H, dh].

    Returns:
        Force on the queries, sum_s p_ts k_s, and on the keys, sum_t p_ts q_t, both [T, d]. The second carries later
        queries back to earlier keys: this is how a reciprocal system lets a token feel its future.
    """
    shares = jax.nn.softmax(causal_scores(query, key), axis=-1)
    on_query = jnp.einsum("hts,shi->thi", shares, key)
    on_key = jnp.einsum("hts,thi->shi", shares, query)
    return on_query.reshape(query.shape[0], -1), on_key.reshape(query.shape[0], -1)


def gelu(h: Array) -> Array:
    """GELU in its tanh form, of any shape (Hendrycks and Gimpel 2016, section 2)."""
    return jax.nn.gelu(h, approximate=True)


def relu_integral(h: Array) -> Array:
    """Integral of relu from 0 to h: relu(h)^2 / 2."""
    return jax.nn.relu(h) ** 2 / 2


def tanh_integral(h: Array) -> Array:
    """Integral of tanh from 0 to h: log cosh h, without overflow."""
    return jnp.logaddexp(h, -h) - math.log(2.0)


def gelu_integral(h: Array) -> Array:
    """Integral of the tanh-form GELU from 0 to h, by Gauss-Legendre quadrature (no closed form exists).

    Args:
        h: Any shape.

    Returns:
        The integral, shape of h, to about 1e-13 relative to max(1, h^2 / 2) for every h.
    """
    near = jnp.clip(h, -_GELU_SATURATION, _GELU_SATURATION)
    nodes = jnp.asarray((1 + _LEGENDRE_NODES) / 2, h.dtype)
    weights = jnp.asarray(_LEGENDRE_WEIGHTS / 2, h.dtype)
    beyond = jnp.maximum(h, _GELU_SATURATION)
    return near * (gelu(near[..., None] * nodes) @ weights) + (beyond**2 - _GELU_SATURATION**2) / 2


# name -> (activation, its integral Gamma with Gamma(0) = 0)
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "gelu": (gelu, gelu_integral),
    "relu": (jax.nn.relu, relu_integral),
    "tanh": (jnp.tanh, tanh_integral),
}
