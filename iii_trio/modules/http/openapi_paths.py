"""Registered paths as OpenAPI writes them."""

import re
from collections.abc import Container, Iterator
from typing import Final

import attrs

from .routes import CatchAll, Param, Route, Segment, Static

_PLAIN: Final = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=:@-]*")
_ODD: Final = re.compile(r"[^A-Za-z0-9_.-]")


@attrs.frozen
class Parameter:
    """A parameter of a path: its name in the description, its name for the function, and whether it takes the rest."""

    shown: str
    name: str
    takes_rest: bool


@attrs.frozen
class Place:
    """A path in a description: `template` with `{name}` for parameters; `shape` without their names."""

    template: str
    shape: tuple[str | None, ...]
    parameters: tuple[Parameter, ...]

    def named_like(self, first: "Place") -> "Place":
        """The same place with the template, and the names to show, of another of its shape."""
        pairs = zip(self.parameters, first.parameters, strict=True)
        own = tuple(attrs.evolve(parameter, shown=other.shown) for parameter, other in pairs)
        return Place(first.template, self.shape, own)


def unused_name(wanted: str, taken: Container[str], mark: str) -> str:
    """The name, with `mark` and a number behind it where it is taken."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}{mark}{number}"
    return name


def place_of(route: Route) -> Place | None:
    """Where a route is described. None if no client would ask for it: it would encode what the route has as it stands."""
    if any(isinstance(part, Static) and not _PLAIN.fullmatch(part.text) for part in route.segments):
        return None
    parameters = tuple(_parameters(route.segments))
    names = iter(parameters)
    parts = [part.text.decode() if isinstance(part, Static) else f"{{{next(names).shown}}}" for part in route.segments]
    shape = tuple(part.text.decode() if isinstance(part, Static) else None for part in route.segments)
    return Place("/" + "/".join(parts), shape, parameters)


def _parameters(segments: tuple[Segment, ...]) -> Iterator[Parameter]:
    """Names with plain characters, each once."""
    taken: set[str] = set()
    for segment in segments:
        if isinstance(segment, Param | CatchAll):
            name = unused_name(_ODD.sub("_", segment.name), taken, "_")
            taken.add(name)
            yield Parameter(name, segment.name, isinstance(segment, CatchAll))
