"""An independent simulator for tests: dense modified nodal analysis in NumPy, assembled from a list of tuples."""

import numpy as np

VT, IS = 1.38064852e-23 * 300.15 / 1.6021766208e-19, 1e-14


def assemble(parts, nodes, hertz=None, bias=None):
    """Matrix and right-hand side of (kind, a, b, value, ...) with diodes linearized at `bias`; phasors with `hertz`."""
    branches = [p for p in parts if p[0] in "VLE"]
    n, kind = len(nodes), float if hertz is None else complex
    place = {name: k for k, name in enumerate(nodes)}
    size = n + len(branches)
    m, rhs = np.zeros((size + 1, size + 1), kind), np.zeros(size + 1, kind)
    at = lambda node: place.get(node, size)  # noqa: E731 - ground goes to a row that is dropped
    omega = 0.0 if hertz is None else 2 * np.pi * hertz
    row = n
    for p in parts:
        what, a, b, value = p[0], at(p[1]), at(p[2]), p[3]
        y = i = 0.0
        if what == "R":
            y = 1 / value
        elif what == "C":
            y = 1j * omega * value if hertz is not None else 0.0
        elif what == "I":
            i = value
        elif what == "G":
            c, d = at(p[4]), at(p[5])
            for node, sign in ((a, 1), (b, -1)):
                m[node, c] += sign * value
                m[node, d] -= sign * value
        elif what == "D":
            v = bias[a] - bias[b]
            y = IS / VT * np.exp(v / VT) + 1e-12
            i = IS * (np.exp(v / VT) - 1) + 1e-12 * v - y * v if hertz is None else 0.0
        else:
            m[a, row] += 1
            m[b, row] -= 1
            m[row, a] += 1
            m[row, b] -= 1
            if what == "V":
                rhs[row] += value
            elif what == "L":
                m[row, row] -= 1j * omega * value if hertz is not None else 0.0
            else:
                m[row, at(p[4])] -= value
                m[row, at(p[5])] += value
            row += 1
        for node, sign in ((a, 1), (b, -1)):
            m[node, a] += sign * y
            m[node, b] -= sign * y
            rhs[node] -= sign * i
    return m[:size, :size], rhs[:size]


def solve(parts, nodes, hertz=None, bias=None):
    """Node voltages: phasors, or the operating point by Newton with junctions held back, and ground's 0 at the end."""
    if hertz is not None:
        m, rhs = assemble(parts, nodes, hertz, bias)
        return np.linalg.solve(m, rhs)[: len(nodes)]
    n = len(nodes)
    place = {name: k for k, name in enumerate(nodes)}
    v = np.zeros(n + sum(p[0] in "VLE" for p in parts) + 1)
    for _ in range(500):
        m, rhs = assemble(parts, nodes, None, v)
        new = np.append(np.linalg.solve(m, rhs), 0.0)
        step = new - v
        rises = [step[place.get(p[1], -1)] - step[place.get(p[2], -1)] for p in parts if p[0] == "D"]
        shorter = min([1.0, *(0.1 / r for r in rises if r > 0.1)])
        v = v + shorter * step
        if np.abs(step[:n]).max() < 1e-12:
            return v
    return None
