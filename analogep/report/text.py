"""Text of a report: light markup, numbers, names of files and anchors."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any

import numpy as np
from markupsafe import Markup, escape

_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[([^\]]+)\]\(((?:https?://|#|\./)[^\s()]*)\)")
_BOLD = re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*")
_NARROW = "\N{NARROW NO-BREAK SPACE}"
_ITALIC = re.compile(r"(?<![\w*])\*(?=[^\s*])([^*]+?)(?<=[^\s*])\*(?![\w*])")


def markup(text: str) -> Markup:
    """Escaped text with `code`, **bold**, *italic* and [links](https://...) turned into HTML."""
    held: list[str] = []

    def hold(html: str) -> str:
        held.append(html)
        return f"\0{len(held) - 1}\0"

    safe = str(escape(text.replace("\0", "")))
    safe = _CODE.sub(lambda m: hold(f"<code>{m[1]}</code>"), safe)
    safe = _LINK.sub(lambda m: hold(f'<a href="{m[2]}">') + m[1] + hold("</a>"), safe)
    safe = _ITALIC.sub(r"<em>\1</em>", _BOLD.sub(r"<strong>\1</strong>", safe))
    return Markup(re.sub("\0(\\d+)\0", lambda m: held[int(m[1])], safe))


def plain(value: Any) -> Any:
    """A NumPy scalar as a Python one; anything else as it is."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    return value.item() if isinstance(value, np.generic) else value


def shown(value: Any) -> str:
    """A value as a reader wants it: four digits, narrow spaces in long integers, words for what is no number."""
    value = plain(value)
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        text = f"{value:,}".replace(",", _NARROW) if abs(value) >= 10_000 else str(value)
        return text.replace("-", "−")
    if isinstance(value, float):
        if not math.isfinite(value):
            return "not a number" if math.isnan(value) else "∞" if value > 0 else "−∞"
        return _float(value)
    return str(value)


def _float(value: float, digits: int = 2) -> str:
    if value and not 1e-3 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.{digits}e}".split("e")
        power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        if value == float(f"1e{exponent}"):  # a power of ten, which was chosen rather than measured
            return f"10{power}"
        return f"{mantissa.replace('-', '−')}{_NARROW}×{_NARROW}10{power}"
    if 0 < 1 - value < 5e-5:  # four digits would round it to one
        return f"1\N{NO-BREAK SPACE}−\N{NO-BREAK SPACE}{_float(1 - value, 1)}"
    return f"{value:.4g}".replace("-", "−")


def jsonable(value: Any) -> Any:
    """Plain data for JSON; numbers that are not finite become the strings NaN, Infinity and -Infinity."""
    value = plain(value)
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def slug(text: str, length: int = 48) -> str:
    """Lower-case ASCII letters, digits and hyphens, for file names and anchors."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", ascii_text).strip("-")
    return words[:length].rstrip("-") or "item"
