"""The text of --model-args becomes keyword arguments of one network.

    parse("resnet1d_grid", MODELS["resnet1d_grid"].build, "filters=4-8,layout=cna")  ->  {"filters": (4, 8), ...}

Commas separate arguments, `-` separates the numbers of a list. Names and types come from the network's signature; a
`partial` only changes defaults.
"""

import inspect
from collections.abc import Callable
from typing import Any, get_args, get_origin, get_type_hints

from toolbox.errors import UsageError
from toolbox.registry import pick

LARGEST, LONGEST = 65_536, 64  # a number, and the numbers of a list
HINT = "--model-args filters=64-128,dropout=0.4"


def parse(name: str, network: Callable[..., Any], text: str) -> dict[str, Any]:
    """Values by argument. Raises UsageError for an unknown or repeated argument, or a value of another type."""
    known = kinds(network)
    if not known:
        raise UsageError(f"{name} takes no --model-args", hint="leave them out")
    values: dict[str, Any] = {}
    for part in text.split(","):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not (key and equals and value):
            raise UsageError(f"--model-args {part[:60]!r} is not key=value", hint=HINT)
        if key in values:
            raise UsageError(f"--model-args names {key[:60]} twice", hint="each once")
        values[key] = _value(key, pick(f"model-args of {name}", known, key), value)
    return values


def kinds(network: Callable[..., Any]) -> dict[str, Any]:
    """The type of each keyword-only argument of a network, by name."""
    hints = get_type_hints(getattr(network, "func", network).__init__)
    arguments = [each for each in inspect.signature(network).parameters.values() if each.kind is each.KEYWORD_ONLY]
    return {each.name: hints.get(each.name, type(each.default)) for each in arguments}


def _value(key: str, kind: Any, text: str) -> Any:
    if get_origin(kind) is None:
        return _one(key, kind, text)
    items = text.split("-")
    if len(items) > LONGEST:
        what = f"--model-args: {key} has {len(items)} numbers, at most {LONGEST} are read"
        raise UsageError(what, hint=f"{key}=64-128")
    return tuple(_one(key, get_args(kind)[0], item) for item in items)


def _one(key: str, kind: Any, text: str) -> Any:
    read, rule, holds = READERS.get(kind, READERS[str])
    try:
        value = read(text)
    except (ValueError, KeyError):
        value = None
    if value is None or not holds(value):
        raise UsageError(f"--model-args: {key} is {text[:40]!r}, must be {rule}", hint=HINT)
    return value


READERS: dict[Any, tuple[Callable[[str], Any], str, Callable[[Any], bool]]] = {
    int: (int, f"a whole number from 1 to {LARGEST} (of a list: with - between them)", lambda n: 1 <= n <= LARGEST),
    float: (float, f"a number from 0 to {LARGEST}", lambda number: 0 <= number <= LARGEST),
    bool: ({"true": True, "false": False}.__getitem__, "true or false", lambda _: True),
    str: (str, "a word", lambda word: word.isprintable()),
}
