"""The process in which PySpice runs ngspice's shared library: deck.cir in, answer.json and vectors.npz out.

Started by `analogep.simulate.pyspice` as a script, isolated, in an empty folder; it imports nothing of this package.
"""

import json
import logging
import os
import sys

import numpy as np


def main(library: str) -> None:
    os.environ["NGSPICE_LIBRARY_PATH"] = library
    logging.disable(logging.CRITICAL)
    from PySpice.Spice.NgSpice.Shared import NgSpiceShared

    ngspice = NgSpiceShared.new_instance()
    said: list[str] = []
    answer = {"version": ngspice.ngspice_version, "code": 0, "finished": False, "plots": [], "log": ""}
    _write(answer)
    with open("deck.cir", encoding="utf-8") as file:
        deck = file.read()
    if not deck:
        return
    # Every line on stderr, and every word "error" on stdout, is an exception for PySpice; the log decides, not they.
    for command, argument in ((ngspice.load_circuit, (deck,)), (ngspice.run, ())):
        try:
            command(*argument)
        except NameError as error:
            said.append(f"PySpice: {error}")
        said += [ngspice.stdout, ngspice.stderr]
        answer["log"] = "\n".join(said)
        _write(answer)
    arrays: dict[str, np.ndarray] = {}
    for name in ngspice.plot_names[::-1]:
        if name != "const":
            vectors = ngspice.plot(None, name)
            keys = [f"a{len(arrays) + k}" for k in range(len(vectors))]
            arrays.update((key, vector._data) for key, vector in zip(keys, vectors.values(), strict=True))
            kinds = [str(vector._type) for vector in vectors.values()]
            answer["plots"].append((name, list(zip(vectors, kinds, keys, strict=True))))
    np.savez("vectors.npz", allow_pickle=False, **arrays)
    _write(answer | {"finished": True})


def _write(answer: dict) -> None:
    with open("answer.partial", "w", encoding="utf-8") as file:
        json.dump(answer, file)
    os.replace("answer.partial", "answer.json")


main(sys.argv[1])
