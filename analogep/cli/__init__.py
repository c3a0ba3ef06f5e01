"""The command line: `analogep VERB [SPEC.toml] [--set key=value ...] [-o PATH] [--json]`.

Human text goes to stderr, one JSON object to stdout with --json. Exit codes: 0 done, 1 a verdict failed, 2 bad input,
3 a solve did not converge. Heavy imports wait until the spec has been read, so bad input is refused at once.
"""

from analogep.cli import circuits, design, estimators, pages  # noqa: F401  (each registers its verbs)
from analogep.cli.run import app, stderr
from analogep.errors import AnalogepError


def main() -> None:
    """Entry point: deliberate errors become one line on stderr and their exit code."""
    try:
        app()
    except AnalogepError as error:
        stderr.print(f"analogep: {error}", style="red", markup=False, soft_wrap=True)
        raise SystemExit(error.exit_code) from None
