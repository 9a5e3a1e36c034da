"""Changes: what an object has cached of values that it no longer has."""

from functools import cached_property

# Where an object keeps the values that it had when it was last looked at.
VALUES = "_values_at_last_run"


def forget_if_changed(owner: object) -> None:
    """Drop what an object has cached, recorded functions too, if its own values are not those of the last call."""
    cached = {
        name for kind in type(owner).__mro__ for name, value in vars(kind).items() if isinstance(value, cached_property)
    }
    values = {name: value for name, value in vars(owner).items() if name not in cached and name != VALUES}
    now = {name: (value, getattr(value, "_version", None)) for name, value in values.items()}
    before = vars(owner).get(VALUES, now)
    if now.keys() != before.keys() or not all(_unchanged(now[name], before[name]) for name in now):
        for name in cached:
            vars(owner).pop(name, None)
    vars(owner)[VALUES] = now


def _unchanged(now: tuple, before: tuple) -> bool:
    if now[0] is before[0]:
        return now[1] == before[1]
    plain = (bool, int, float, str, type(None))
    return isinstance(now[0], plain) and type(now[0]) is type(before[0]) and now[0] == before[0]
