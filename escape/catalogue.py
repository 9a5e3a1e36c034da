"""Landscapes by name, and what is taken from anybody's own Python file: landscapes, oracles and optimizers."""

import difflib
import inspect
import math
import sys
import types
from collections.abc import Callable, Iterable
from pathlib import Path

from escape.landscapes import Landscape
from escape.mapped import not_finite
from escape.named import NAMED

# Files that were run: what they held then, and what came of it.
_RUN: dict[Path, tuple[bytes, types.ModuleType]] = {}


def make_landscape(name: str, options: Iterable[str] = ()) -> Landscape:
    """Make a landscape from its name and options as text.

    Parameters
    ----------
    name : str
        One of `NAMED`, or ``FILE.py:NAME`` with NAME a `Landscape`, or a callable with keyword options that makes one.
    options : iterable of str
        Each ``key=value``; values are read by the type of the maker's default.

    Raises
    ------
    ValueError, TypeError
        For a name, a file, an option or samples that make no landscape.
    """
    maker = maker_of(name)
    given = list(options)
    if isinstance(maker, Landscape):
        if given:
            raise ValueError(f"{name} is a landscape already made: it takes no options, got {given[0]!r}")
        return _checked(name, maker)
    return _checked(name, maker(**read_options(name, maker, given)))


def maker_of(name: str) -> Callable[..., Landscape] | Landscape:
    """Return what a name stands for: a maker of landscapes, or a landscape.

    Raises
    ------
    ValueError
        If it stands for neither.
    """
    if name in NAMED:
        return NAMED[name]
    if file_of(name) is not None:
        return taken_from(name, "landscape", Landscape)
    if name.endswith(".py"):
        raise ValueError(f"{name} names a file, not a landscape in it; write {name}:NAME")
    raise ValueError(f"no landscape {name!r}{close(name, NAMED)}; one of {', '.join(NAMED)}, or FILE.py:NAME")


def taken_from(name: str, what: str, kind: type) -> Callable | object:
    """Return what ``FILE.py:NAME`` stands for: one of a kind that is made already, or a callable that may make it.

    Raises
    ------
    ValueError
        If the file fails or has no such name, or the name is a class of another kind or one that is not finished.
    """
    path, inside = file_of(name), name.rpartition(":")[2]
    module = _run_file(path)
    found = getattr(module, inside, None)
    if not (isinstance(found, kind) or callable(found)):
        usable = [key for key, value in vars(module).items() if _own(module, value, kind) and not key.startswith("_")]
        has = ", ".join(usable) or "none"
        raise ValueError(f"{path} has no {what} {inside!r}{close(inside, usable)}; it has {has}")
    return found


def class_from(name: str, what: str, kind: type) -> type:
    """Return the class that ``FILE.py:NAME`` stands for, which is derived from another one and finished.

    Raises
    ------
    ValueError
        If it is not, and as `taken_from`.
    """
    found = taken_from(name, what, kind)
    if not (inspect.isclass(found) and issubclass(found, kind)):
        raise ValueError(f"{name} is no {what}: give a class derived from escape.{kind.__name__}")
    if inspect.isabstract(found):
        raise ValueError(f"{name} is not finished: it lacks {', '.join(sorted(found.__abstractmethods__))}")
    return found


def resolved(name: str) -> str:
    """Return a name, with its options if it has any, that means the same from any folder."""
    path = file_of(name)
    return name if path is None else f"{path.resolve()}:{name.rpartition(':')[2]}"


def file_of(name: str) -> Path | None:
    """Return the file in ``FILE.py:NAME``, or None for other names."""
    path, colon, _ = name.rpartition(":")
    return Path(path) if colon and path.endswith(".py") else None


def close(word: str, words: Iterable[str]) -> str:
    """Return '; did you mean …?' for the nearest word, or nothing."""
    near = difflib.get_close_matches(word, list(words), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def defaults_of(maker: Callable) -> dict:
    """Options of a maker with their defaults; `inspect.Parameter.empty` where there is none."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {key: p.default for key, p in inspect.signature(maker).parameters.items() if p.kind in kinds}


def option_text(value: object) -> str:
    """Write an option's value as it is given on the command line."""
    match value:
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case list() | tuple():
            return ",".join(map(option_text, value))
    return str(value)


def read_options(name: str, maker: Callable, given: list[str], needed: bool = True) -> dict:
    """Read options of a maker, each ``key=value``, by the types of its defaults.

    Raises
    ------
    ValueError
        For an option that it does not have, a value of another type, and, if `needed`, one that is missing.
    """
    defaults, read = defaults_of(maker), {}
    for text in given:
        key, equals, value = text.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            raise ValueError(f"option {text!r} of {name} must be key=value")
        if key not in defaults:
            allowed = f"its options are {', '.join(defaults)}" if defaults else "it has none"
            raise ValueError(f"{name} has no option {key!r}{close(key, defaults)}; {allowed}")
        read[key] = _read_value(f"option {key} of {name}", value.strip(), defaults[key])
    missing = [key for key, value in defaults.items() if value is inspect.Parameter.empty and key not in read]
    if missing and needed:
        raise ValueError(f"{name} needs a value for {', '.join(missing)}: --set {missing[0]}=…")
    return read


def _read_value(what: str, text: str, default: object) -> object:
    """Read text as the type of a default; without one, as what it looks like."""
    words = {"true": True, "yes": True, "false": False, "no": False}
    match default:
        case bool():
            if text.lower() not in words and text not in ("0", "1"):
                raise ValueError(f"{what} must be true or false, got {text!r}")
            return words.get(text.lower(), text == "1")
        case int():
            number = _number(what, text)
            if number != int(number):
                raise ValueError(f"{what} must be a whole number, got {text!r}")
            return int(number)
        case float():
            return _number(what, text)
        case list() | tuple():
            return tuple(_number(what, part) for part in text.split(",") if text)
        case str():
            return text
    if text.lower() in words:
        return words[text.lower()]
    try:
        numbers = tuple(_number(what, part) for part in text.split(","))
    except ValueError:
        return text
    whole = numbers[0] == int(numbers[0]) and "." not in text
    return numbers if len(numbers) > 1 else int(numbers[0]) if whole else numbers[0]


def _number(what: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{what} must be a number, got {text!r}") from None
    if not math.isfinite(number):
        raise ValueError(f"{what} must be finite, got {text!r}")
    return number


def _run_file(path: Path) -> types.ModuleType:
    """Run a file, once as long as it stays as it is: what is taken from it by two names is of the same classes."""
    if not path.is_file():
        raise ValueError(f"no file {path}")
    text, place = path.read_bytes(), path.resolve()
    if _RUN.get(place, (None, None))[0] == text:
        return _RUN[place][1]
    module = types.ModuleType(f"landscape_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses look up the module of their annotations
    folder = str(path.parent.resolve())
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        exec(compile(text, str(path), "exec"), vars(module))
    except Exception as error:
        raise ValueError(f"{path} fails{_line_in(path, error)}: {type(error).__name__}: {error}") from error
    _RUN[place] = text, module
    return module


def _own(module: types.ModuleType, value: object, kind: type) -> bool:
    return isinstance(value, kind) or (callable(value) and getattr(value, "__module__", "") == module.__name__)


def _line_in(path: Path, error: BaseException) -> str:
    """Say in which line of a file an error arose, unless it says so itself."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" in line {line}" if line else ""


def _checked(name: str, landscape: object) -> Landscape:
    """Return the landscape, made of numbers: spectra of anything else fail in ways hard to read."""
    if not isinstance(landscape, Landscape):
        raise TypeError(f"{name} must give a Landscape, got {type(landscape).__name__}")
    bad, first = not_finite(landscape.samples)
    if bad:
        n = landscape.n
        raise ValueError(
            f"{name}: samples hold non-finite numbers in {bad} of {n} rows, first in row {first}; clean or drop them"
        )
    return landscape
