"""`engine::supervisor::tree`: what the supervision tree of the engine looks like now."""

from collections.abc import Callable

import attrs

from actors import Crashed, Exit, Node
from iii_trio.modules.built_in import BuiltIn
from iii_trio.protocol import Json

from . import _schemas as schemas
from ._inputs import NoInput
from ._rows import Row

Tree = Callable[[], Node]


@attrs.frozen
class TreeIntrospection:
    """Shows the tree of the whole engine to operators."""

    tree: Tree

    def built_ins(self) -> tuple[BuiltIn, ...]:
        return (
            BuiltIn.of(
                "engine::supervisor::tree",
                "Shows the supervision tree of the engine: every part, its state, restarts and last end.",
                NoInput,
                schemas.NODE,
                lambda _, __: node_row(self.tree()),
            ),
        )


def node_row(node: Node) -> Row:
    """A node and everything below it."""
    return {
        "path": node.path,
        "kind": node.kind,
        "strategy": node.strategy,
        "state": node.state,
        "incarnation": node.incarnation,
        "restarts_in_window": node.restarts_in_window,
        "last_exit": _exit_row(node.last_exit),
        "mailbox_depth": node.mailbox_depth,
        "children": [node_row(child) for child in node.children],
    }


def _exit_row(end: Exit | None) -> Json:
    if end is None:
        return None
    if isinstance(end, Crashed):
        return {"reason": "crashed", "error": f"{type(end.error).__name__}: {end.error}"}
    return {"reason": type(end).__name__.lower(), "error": None}
