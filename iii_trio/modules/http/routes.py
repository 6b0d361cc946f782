"""The route table (http.md 4.2, 4.3, 5): which trigger answers which method and path. Pure: no I/O, no kernel."""

import re
from collections.abc import Iterator
from typing import Final

import attrs

from iii_trio.protocol import Payload
from iii_trio.protocol.errors import TriggerRejected

_BRACED: Final = re.compile(r"\{(\*?)([^{}*]+)\}")
_DEEPEST: Final = 256


class BadPath(TriggerRejected):
    """An `api_path` that no router can take (D-4)."""


class RouteConflict(TriggerRejected):
    """Same method and shape as a live route, but other parameter names or spelling (4.2)."""

    def __init__(self, newcomer: "Route", holder: "Route") -> None:
        super().__init__(
            f"Route '{newcomer.key}' conflicts with already-registered route '{holder.key}': "
            "same shape; use the same parameter names to replace it, or another path"
        )


@attrs.frozen
class Static:
    """A segment that matches itself, byte for byte."""

    text: bytes


@attrs.frozen
class Param:
    """`:name` or `{name}`: matches one segment that is not empty."""

    name: str


@attrs.frozen
class CatchAll:
    """`{*name}`: matches all that remains, if anything does."""

    name: str


Segment = Static | Param | CatchAll


def parse_path(path: str) -> tuple[Segment, ...]:
    """The segments of an `api_path`. Raises BadPath saying what is wrong with which segment."""
    text = path if path.startswith("/") else f"/{path}"
    parts = text[1:].split("/")
    if len(parts) > _DEEPEST:
        raise BadPath(f"api_path has {len(parts)} segments, at most {_DEEPEST} are possible")
    segments = tuple(_segment(part, path) for part in parts)
    if any(isinstance(segment, CatchAll) for segment in segments[:-1]):
        raise BadPath(f"api_path '{path}' is not a valid route: a catch-all must be the last segment")
    return segments


def _segment(part: str, path: str) -> Segment:
    literal = part.replace("{{", "").replace("}}", "")
    if not part.startswith((":", "*")) and "{" not in literal and "}" not in literal:
        return Static(part.replace("{{", "{").replace("}}", "}").encode("utf-8", "surrogatepass"))
    if part.startswith(":") and len(part) > 1 and "{" not in part and "}" not in part:
        return Param(part[1:])
    if (braced := _BRACED.fullmatch(part)) is not None:
        return CatchAll(braced[2]) if braced[1] else Param(braced[2])
    raise BadPath(f"api_path '{path}' is not a valid route: {_fault(part)} in segment '{part}'")


def _fault(part: str) -> str:
    if part.startswith("*"):
        return "a catch-all is written {*name}"
    if part.count("{") != part.count("}"):
        return "unbalanced braces"
    return "a parameter without a name" if part in {":", "{}", "{*}"} else "text beside a parameter"


@attrs.define(eq=False)
class Route:
    """One `http` trigger as the table holds it. `path` is the registered text, verbatim."""

    method: str
    path: str
    trigger_id: str
    function_id: str
    namespace: str
    condition_function_id: str | None = None
    metadata: Payload | None = None
    middleware: tuple[str, ...] = ()
    default_status: int = 200
    """The status of an answer that gives none."""

    warned: bool = False
    segments: tuple[Segment, ...] = attrs.field(init=False, repr=False)
    key: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.segments = parse_path(self.path)
        self.key = f"{self.method} {self.path.lstrip('/') or '/'}"

    @property
    def asks_first(self) -> bool:
        """Whether something is called before its function."""
        return bool(self.middleware) or self.condition_function_id is not None

    @property
    def catches_all(self) -> bool:
        """Whether it takes all that remains of a path."""
        return isinstance(self.segments[-1], CatchAll)

    @property
    def shape(self) -> tuple[object, ...]:
        """What two routes have in common that would match the same paths."""
        return (self.method, *(part.text if isinstance(part, Static) else type(part) for part in self.segments))

    def params(self, parts: list[bytes]) -> dict[str, str]:
        """The raw values of its parameters in the segments of a path it matches; of a repeated name the last counts."""
        found = {}
        for at, segment in enumerate(self.segments):
            if isinstance(segment, Param):
                found[segment.name] = parts[at].decode("utf-8", "replace")
            elif isinstance(segment, CatchAll):
                found[segment.name] = b"/".join(parts[at:]).decode("utf-8", "replace")
        return found


@attrs.frozen
class Match:
    """A route, the values of its parameters, and the path as its functions get to see it."""

    route: Route
    params: dict[str, str]
    path: str


def other_slash(path: bytes) -> bytes:
    """The path with a slash at its end if it has none, without it if it has."""
    return path[:-1] if path.endswith(b"/") else path + b"/"


@attrs.define(eq=False)
class _Node:
    """Everything below one prefix of segments."""

    statics: dict[bytes, "_Node"] = attrs.field(factory=dict)
    param: "_Node | None" = None
    rest: Route | None = None
    route: Route | None = None

    @property
    def is_empty(self) -> bool:
        return not (self.statics or self.param or self.rest or self.route)

    def put(self, segments: tuple[Segment, ...], route: Route | None) -> None:
        """Set (or, with None, clear) what ends at these segments; prunes what becomes empty."""
        if not segments:
            self.route = route
            return
        first = segments[0]
        if isinstance(first, CatchAll):
            self.rest = route
        elif isinstance(first, Param):
            self.param = self.param or _Node()
            self.param.put(segments[1:], route)
            self.param = None if self.param.is_empty else self.param
        else:
            child = self.statics.setdefault(first.text, _Node())
            child.put(segments[1:], route)
            if child.is_empty:
                del self.statics[first.text]

    def find(self, parts: list[bytes], at: int) -> Route | None:
        """The best route for `parts[at:]`: static before parameter before catch-all, with backtracking."""
        if at == len(parts):
            return self.route
        part = parts[at]
        child = self.statics.get(part)
        if child is not None and (found := child.find(parts, at + 1)) is not None:
            return found
        if part and self.param is not None and (found := self.param.find(parts, at + 1)) is not None:
            return found
        return self.rest if part or at + 1 < len(parts) else None


@attrs.define(eq=False)
class RouteTable:
    """Live routes, one tree of segments per method. A lookup visits each node of the tree at most once."""

    _keys: dict[str, Route] = attrs.field(factory=dict)
    _shapes: dict[tuple[object, ...], Route] = attrs.field(factory=dict)
    _trees: dict[str, _Node] = attrs.field(factory=dict)
    changes: int = 0
    """Additions and removals so far: as long as it is the same, so is everything here."""

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Route]:
        return iter(tuple(self._keys.values()))

    def add(self, route: Route) -> None:
        """Make a route live, in the place of one with the same key. Raises RouteConflict and changes nothing (4.3)."""
        rival = self._shapes.get(route.shape)
        if rival is not None and rival.key != route.key:
            raise RouteConflict(route, rival)
        former = self._keys.get(route.key)
        if former is not None:
            self.remove(former)
        self._keys[route.key] = self._shapes[route.shape] = route
        self._trees.setdefault(route.method, _Node()).put(route.segments, route)
        self.changes += 1

    def remove(self, route: Route) -> bool:
        """Take a route away; False, and no effect, if another one has taken its place (4.3)."""
        if self._keys.get(route.key) is not route:
            return False
        del self._keys[route.key], self._shapes[route.shape]
        self.changes += 1
        tree = self._trees[route.method]
        tree.put(route.segments, None)
        if tree.is_empty:
            del self._trees[route.method]
        return True

    def match(self, method: str, path: bytes) -> Match | None:
        """The route for a method and a raw path (5)."""
        tree = self._trees.get(method)
        if tree is None or not path.startswith(b"/"):
            return None
        parts = path[1:].split(b"/")
        route = tree.find(parts, 0)
        return Match(route, route.params(parts), route.path) if route is not None else None

    def allowed(self, path: bytes) -> list[str]:
        """The methods that have a route for this path, sorted."""
        if not path.startswith(b"/"):
            return []
        parts = path[1:].split(b"/")
        return sorted(method for method, tree in self._trees.items() if tree.find(parts, 0) is not None)
