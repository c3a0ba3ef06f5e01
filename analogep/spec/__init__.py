"""The spec: every knob of a run as typed tables, read from TOML and from `--set key=value`.

Reading a spec must stay cheap and free of jax, so that bad input is refused before anything heavy is imported.
"""

from analogep.spec.reading import apply_override, load_spec, parse_spec, read_tables, set_key, toml_value
from analogep.spec.tables import Chip, Compile, Level, Model, Spec, Technology

__all__ = [
    "Chip", "Compile", "Level", "Model", "Spec", "Technology", "apply_override", "load_spec", "parse_spec",
    "read_tables", "set_key", "toml_value",
]  # fmt: skip
