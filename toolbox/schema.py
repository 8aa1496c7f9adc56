"""Whether a value read from a file has the form that the program needs: the first place where it has not, in words.

misfit(config, {"data": {"classes": [str], "channels": Count(1, 4096), "image?": [Count(1)]}})
    "data.channels is a text, it must be a whole number from 1 to 4,096"

A form is a type, a `Count`, NUMBER, a list with the form of its items, a dict with the forms of its values (a name that ends in ?
may be missing or null, other names may be there), or a tuple of forms of which one must fit.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LARGEST = 2**53  # whole numbers beyond are no counts, and no float holds each of them
KINDS = {dict: "an object", list: "a list", str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True)
class Count:
    """Whole numbers from `least` to `most`."""

    least: int = 0
    most: int = LARGEST

    def __str__(self) -> str:
        return f"a whole number from {self.least:,}" + (f" to {self.most:,}" if self.most < LARGEST else "")


@dataclass(frozen=True)
class Number:
    """Numbers from `least` to `most`, both finite."""

    least: float = -math.inf
    most: float = math.inf

    def __str__(self) -> str:
        bounds = (f" {word} {value:g}" for word, value in (("from", self.least), ("to", self.most)) if math.isfinite(value))
        return "a number" + "".join(bounds)


NUMBER = Number()


def kind(value: Any) -> str:
    """What a value is, in a word or two; a short plain one as it is."""
    if isinstance(value, bool | int | float | None):
        text = {None: "null", True: "true", False: "false"}.get(value if type(value) is not int else "", "") or repr(value)
        return text if len(text) <= 20 else "a number of many digits"
    return KINDS.get(type(value), f"of type {type(value).__name__}")


def is_number(value: Any) -> bool:
    """Whether a value is a number, which may be NaN or infinite; true and false are none."""
    return isinstance(value, float) or (type(value) is int and abs(value) <= LARGEST)


def is_finite(value: Any) -> bool:
    """Whether a value is a number that is neither NaN nor infinite."""
    return is_number(value) and math.isfinite(value)


def is_count(value: Any, least: int = 0, most: int = LARGEST) -> bool:
    """Whether a value is a whole number from `least` to `most`."""
    return type(value) is int and least <= value <= most


def misfit(value: Any, form: Any, at: str = "") -> str:
    """The first place at which `value` has not the `form`; empty where it has it everywhere."""
    if isinstance(form, tuple):
        return "" if any(not misfit(value, each, at) for each in form) else _told(value, " or ".join(map(_named, form)), at)
    if isinstance(form, dict) and isinstance(value, dict):
        return _of_dict(value, form, at)
    if isinstance(form, list) and isinstance(value, list):
        return next((why for i, each in enumerate(value) if (why := misfit(each, form[0], f"{at}[{i}]"))), "")
    return "" if _fits(value, form) else _told(value, _named(form), at)


def _of_dict(value: dict[str, Any], form: dict[str, Any], at: str) -> str:
    for name, each in form.items():
        key = name.removesuffix("?")
        inside = f"{at}.{key}" if at else key
        if value.get(key) is None and name.endswith("?"):
            continue
        if key not in value:
            return f"{inside} is missing"
        if why := misfit(value[key], each, inside):
            return why
    return ""


FITS: dict[type, Callable[[Any, Any], bool]] = {
    Count: lambda value, form: is_count(value, form.least, form.most),
    Number: lambda value, form: is_finite(value) and form.least <= value <= form.most,
    type: lambda value, form: type(value) is form,
    type(None): lambda value, form: value is None,
}


def _fits(value: Any, form: Any) -> bool:
    return type(form) in FITS and FITS[type(form)](value, form)


def _named(form: Any) -> str:
    return "null" if form is None else KINDS.get(form if isinstance(form, type) else type(form), str(form))


def _told(value: Any, form: str, at: str) -> str:
    return f"{at or 'it'} is {kind(value)}, it must be {form}"
