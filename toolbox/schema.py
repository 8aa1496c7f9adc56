"""The first place at which a value read from a file has not the required form, in words.

misfit(config, {"data": {"classes": [str], "channels": Count(1, 4096), "image?": Pair(Count(1))}})
    "data.channels is a text, it must be a whole number from 1 to 4,096"

A form is a type, ANY, a `Count`, a `Number`, a `Pair`, a list with the form of its items, or a dict with the forms of
its values: a name that ends in ? may be missing or null, * stands for every name, others may be there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LARGEST = 2**53  # whole numbers beyond are no counts, and no float holds each of them
KINDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


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
        low = f" from {self.least:g}" if math.isfinite(self.least) else ""
        return "a number" + low + (f" to {self.most:g}" if math.isfinite(self.most) else "")


@dataclass(frozen=True)
class Pair:
    """Lists of two values of one form."""

    form: Any

    def __str__(self) -> str:
        return f"two values, each {_named(self.form)}"


class Anything:
    """Every value."""

    def __str__(self) -> str:
        return "anything"


ANY = Anything()


def kind(value: Any) -> str:
    """The type of a value in words; a short plain value itself."""
    if isinstance(value, bool | int | float | None):
        text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
        return text if len(text) <= 20 else "a number of many digits"
    return KINDS.get(type(value), f"of type {type(value).__name__}")


def is_number(value: Any) -> bool:
    """Whether a value is a number, possibly NaN or infinite, and no bool."""
    return isinstance(value, float) or (type(value) is int and abs(value) <= LARGEST)


def is_finite(value: Any) -> bool:
    """Whether a value is a number, neither NaN nor infinite."""
    return is_number(value) and math.isfinite(value)


def is_count(value: Any, least: int = 0, most: int = LARGEST) -> bool:
    """Whether a value is a whole number from `least` to `most`."""
    return type(value) is int and least <= value <= most


def misfit(value: Any, form: Any, at: str = "") -> str:
    """The first place at which `value` has not the `form`; "" if it has the form everywhere."""
    if isinstance(form, dict) and isinstance(value, dict):
        return _of_dict(value, form, at)
    if isinstance(form, list) and isinstance(value, list):
        return next((why for i, each in enumerate(value) if (why := misfit(each, form[0], f"{at}[{i}]"))), "")
    if isinstance(form, Pair) and isinstance(value, list) and len(value) == 2:
        return misfit(value, [form.form], at)
    if type(form) in FITS and FITS[type(form)](value, form):
        return ""
    return f"{at or 'it'} is {kind(value)}, it must be {_named(form)}"


def _of_dict(value: dict[str, Any], form: dict[str, Any], at: str) -> str:
    every = dict.fromkeys(value, form["*"]) if "*" in form else {}
    for name, each in {**every, **form}.items():
        if name == "*":
            continue
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
    Anything: lambda value, form: True,
}


def _named(form: Any) -> str:
    return KINDS.get(form if isinstance(form, type) else type(form), str(form))
