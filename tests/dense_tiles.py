"""Crossbar tiles with wires as dense nodal equations, assembled apart from the package: one node after another."""

import numpy as np


class DenseTile:
    """Ideal wires become one node by a union of nodes; sources of 1 V at the drivers, amplifiers grounded."""

    def __init__(self, g, wires):
        n, m = g.shape  # columns, rows
        self.wires, self.parent = wires, {}
        resistors = []
        for r in range(m):
            for c in range(n):
                if g[c, r]:
                    resistors.append((("w", r, c), ("b", r, c), 1 / g[c, r]))
                if c + 1 < n:
                    resistors.append((("w", r, c), ("w", r, c + 1), wires.word_ohms))
                if r + 1 < m:
                    resistors.append((("b", r, c), ("b", r + 1, c), wires.bit_ohms))
        word_ends = (0, n - 1) if wires.drivers == "both" else (0,)
        bit_ends = (0, m - 1) if wires.sensing == "both" else (m - 1,)
        resistors += [
            (("w", r, c), ("drive", r), wires.word_ohms + wires.driver_ohms) for r in range(m) for c in word_ends
        ]
        resistors += [
            (("b", r, c), ("sense", c), wires.bit_ohms + wires.sense_ohms) for c in range(n) for r in bit_ends
        ]
        for a, b, ohms in resistors:
            if ohms == 0:
                self.parent[self.find(a)] = self.find(b)
        terminals = [("drive", r) for r in range(m)] + [("sense", c) for c in range(n)]
        self.crossings = [(kind, r, c) for kind in "wb" for r in range(m) for c in range(n)]
        roots = dict.fromkeys(self.find(x) for x in [*terminals, *self.crossings])
        self.place = {root: k for k, root in enumerate(roots)}
        self.at = [self.place[self.find(x)] for x in terminals]
        matrix = np.zeros((len(roots), len(roots)))
        for a, b, ohms in resistors:
            i, j = (self.place[self.find(x)] for x in (a, b))
            if ohms:
                matrix[[i, j], [i, j]] += 1 / ohms
                matrix[[i, j], [j, i]] -= 1 / ohms
        self.matrix, self.shape = matrix, (n, m)

    def find(self, x):
        while x in self.parent and self.parent[x] != x:
            x = self.parent[x]
        return x

    def inner(self):
        return np.setdiff1d(np.arange(len(self.matrix)), self.at)

    def ports(self):
        """Admittance of all terminals, drivers first."""
        inner, at = self.inner(), self.at
        assert len(set(at)) == len(at), "ideal wires short two terminals"
        y = self.matrix[np.ix_(at, at)]
        if len(inner):
            left = self.matrix[np.ix_(at, inner)]
            y = y - left @ np.linalg.solve(self.matrix[np.ix_(inner, inner)], left.T)
        return y

    def effective(self):
        """Currents into the amplifiers per volt at the drivers [columns, rows]."""
        m = self.shape[1]
        return -self.ports()[m:, :m]

    def voltages(self, drives):
        """Voltages of the crossings (word, bit), each [rows, columns]."""
        m, (inner, at) = self.shape[1], (self.inner(), self.at)
        v = np.zeros(len(self.matrix))
        v[at[:m]] = drives
        v[inner] = np.linalg.solve(self.matrix[np.ix_(inner, inner)], -self.matrix[np.ix_(inner, at)] @ v[at])
        each = np.array([v[self.place[self.find(x)]] for x in self.crossings])
        return each.reshape(2, m, self.shape[0])
