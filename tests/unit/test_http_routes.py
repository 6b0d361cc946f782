"""The route table against http.md 4.2, 4.3 and 5, and against a model that tries every route."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_trio.modules.http.routes import BadPath, CatchAll, Param, Route, RouteConflict, RouteTable, Static, parse_path
from iii_trio.protocol.errors import TriggerRejected


def route(path: str, method: str = "GET", trigger: str = "t") -> Route:
    return Route(method, path, trigger, f"f::{trigger}", "default")


def table(*routes: str | tuple[str, str]) -> RouteTable:
    made = RouteTable()
    for one in routes:
        method, path = one if isinstance(one, tuple) else ("GET", one)
        made.add(route(path, method, path))
    return made


def reached(routes: RouteTable, path: str, method: str = "GET") -> tuple[str, dict[str, str]] | None:
    match = routes.match(method, path.encode())
    return (match.route.path, match.params) if match else None


@pytest.mark.parametrize(
    ("routes", "path", "expected"),
    [
        (["a/b"], "/a/b", ("a/b", {})),  # http 14
        (["/a/b"], "/a/b", ("/a/b", {})),
        (["/u/me", "/u/:id/posts", "/u/:id"], "/u/me", ("/u/me", {})),  # http 26
        (["/u/me", "/u/:id"], "/u/you", ("/u/:id", {"id": "you"})),
        (["/u/me", "/u/:id/posts"], "/u/me/posts", ("/u/:id/posts", {"id": "me"})),
        (["/a"], "/a/", None),  # http 27
        (["/a"], "/A", None),
        (["/u/:id"], "/u/", None),
        (["/u/:id"], "/u", None),
        (["/a/:x/b"], "/a//b", None),  # D-8
        (["/f/:n"], "/f/a%2Fb", ("/f/:n", {"n": "a%2Fb"})),  # http 28
        (["/f/:n"], "/f/..", ("/f/:n", {"n": ".."})),
        (["/f/a"], "/f/%61", None),
        (["/t/{id}"], "/t/5", ("/t/{id}", {"id": "5"})),  # http 29
        (["/s/{*rest}"], "/s/x/y", ("/s/{*rest}", {"rest": "x/y"})),
        (["/s/{*rest}"], "/s/", None),
        (["/s/{*rest}"], "/s", None),
        (["{*r}", "s"], "/s", ("s", {})),
        (["{*r}", "s"], "/q", ("{*r}", {"r": "q"})),
        (["{*r}"], "/", None),
        (["w/{*r}", "w/:p", "w/:p/y"], "/w/1", ("w/:p", {"p": "1"})),  # http 95
        (["w/{*r}", "w/:p", "w/:p/y"], "/w/1/y", ("w/:p/y", {"p": "1"})),
        (["w/{*r}", "w/:p", "w/:p/y"], "/w/1/z", ("w/{*r}", {"r": "1/z"})),
        (["x/:a/:a"], "/x/1/2", ("x/:a/:a", {"a": "2"})),
        ([""], "/", ("", {})),
        (["/"], "/", ("/", {})),
        (["//a"], "//a", ("//a", {})),
        (["//a"], "/a", None),
        (["x/{{a}}"], "/x/{a}", ("x/{{a}}", {})),
        (["/é/:n"], "/é/ü", ("/é/:n", {"n": "ü"})),
        (["/a"], "*", None),
        (["/a"], "a", None),
    ],
)
def test_a_path_reaches_the_best_route(
    routes: list[str], path: str, expected: tuple[str, dict[str, str]] | None
) -> None:
    assert reached(table(*routes), path) == expected
    assert reached(table(*reversed(routes)), path) == expected


@pytest.mark.parametrize(
    "path",
    ["x/*rest", "x/{a", "x/a}", "x/{*a}/b", "x/:", "x/{}", "x/{*}", "x/a{b}c", "x/:a{b}", "x/{a}{b}", "a/" * 256],
)
def test_a_path_that_no_router_can_take_is_refused(path: str) -> None:
    with pytest.raises(BadPath) as caught:  # http 20
        route(path)
    assert isinstance(caught.value, TriggerRejected)
    assert "api_path" in str(caught.value)


def test_segments_are_what_they_look_like() -> None:
    assert parse_path("/a/:b/{c}/{*d}") == (Static(b"a"), Param("b"), Param("c"), CatchAll("d"))


@pytest.mark.parametrize(
    ("first", "second"),
    [("x/:a/:b", "x/:b/:a"), ("t/{id}", "t/:id"), ("w/{*a}", "w/{*b}"), ("{*a}", "/{*b}")],
)
def test_same_shape_under_another_key_is_a_conflict(first: str, second: str) -> None:
    routes = table(first)
    with pytest.raises(RouteConflict, match="conflicts with already-registered route") as caught:  # http 18
        routes.add(route(second))
    assert f"'GET {second.lstrip('/')}'" in str(caught.value)
    assert f"'GET {first}'" in str(caught.value)
    assert [one.path for one in routes] == [first]
    assert (
        reached(routes, "/" + first.replace(":", "1").replace("{*", "1").replace("{", "1").replace("}", "")) is not None
    )


def test_methods_do_not_conflict() -> None:
    routes = table(("GET", "/u/:id"), ("POST", "/u/:userId"))  # http 19
    assert reached(routes, "/u/1") == ("/u/:id", {"id": "1"})
    assert reached(routes, "/u/1", "POST") == ("/u/:userId", {"userId": "1"})
    assert reached(routes, "/u/1", "PUT") is None


def test_the_methods_of_a_path_are_told_sorted() -> None:
    routes = table(("POST", "/a"), ("GET", "/:x"), ("GET", "/a"), ("DELETE", "/b"))
    assert routes.allowed(b"/a") == ["GET", "POST"]  # http 30
    assert routes.allowed(b"/b") == ["DELETE", "GET"]
    assert routes.allowed(b"/a/b") == []
    assert routes.allowed(b"*") == []


@pytest.mark.parametrize(("first", "second"), [("a/b", "/a/b"), ("", "/"), ("//a", "/a"), ("/a", "//a"), ("/:x", ":x")])
def test_the_same_key_is_replaced_by_the_later_registration(first: str, second: str) -> None:
    routes = RouteTable()
    old, new = route(first, trigger="old"), route(second, trigger="new")
    routes.add(old)
    routes.add(new)
    assert list(routes) == [new]  # http 14
    assert not routes.remove(old)  # http 23: the late clean-up of the old owner changes nothing
    assert list(routes) == [new]
    assert routes.remove(new)
    assert len(routes) == 0
    assert routes.match("GET", b"/a/b") is None


def test_what_was_removed_leaves_nothing_behind() -> None:
    routes = RouteTable()
    made = [route(path) for path in ("/a/b/c", "/a/:x", "/a/{*r}", "/", "/a/b")]
    for one in made:
        routes.add(one)
    for one in made:
        assert routes.remove(one)
    assert not routes._trees
    assert not routes._shapes


# --- against a model ---------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", ""])
SEGMENTS = st.one_of(NAMES, st.sampled_from([":p", "{p}"]))
PATHS = st.builds(
    lambda parts, rest: "/" + "/".join([*parts, *(["{*r}"] if rest else [])]),
    st.lists(SEGMENTS, max_size=3),
    st.booleans(),
)
RANK = {Static: 0, Param: 1, CatchAll: 2}


def fits(path: str, asked: str) -> tuple[int, ...] | None:
    """How well a route fits, segment by segment; None if it does not. Less is better, compared from the left."""
    segments, parts = parse_path(path), asked[1:].split("/")
    for at, segment in enumerate(segments):
        if isinstance(segment, CatchAll):
            return tuple(RANK[type(one)] for one in segments) if "/".join(parts[at:]) else None
        if at >= len(parts):
            return None
        if (isinstance(segment, Static) and segment.text.decode() != parts[at]) or (
            isinstance(segment, Param) and not parts[at]
        ):
            return None
    return tuple(RANK[type(one)] for one in segments) if len(segments) == len(parts) else None


@given(st.lists(PATHS, max_size=8), st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=4), st.data())
def test_the_table_agrees_with_trying_every_route(paths: list[str], asked: list[str], data: st.DataObject) -> None:
    routes, live = RouteTable(), {}
    for path in paths:
        try:
            routes.add(made := route(path))
        except RouteConflict:
            continue
        live[made.key] = made
    for key in data.draw(st.lists(st.sampled_from(sorted(live)), unique=True) if live else st.just([])):
        assert routes.remove(live.pop(key))
    target = "/" + "/".join(asked)
    ranked = sorted((rank, one.path) for one in live.values() if (rank := fits(one.path, target)) is not None)
    found = reached(routes, target)
    assert (found[0] if found else None) == (ranked[0][1] if ranked else None)
    assert routes.allowed(target.encode()) == (["GET"] if ranked else [])
