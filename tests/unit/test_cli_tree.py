"""How `iii-trio tree` shows a supervision tree."""

from typing import Any

import pytest

from iii_trio.commands.tree import Paint, lines


def node(path: str, kind: str = "task", *children: dict[str, Any], **more: Any) -> dict[str, Any]:
    quiet = {"strategy": None, "state": "running", "incarnation": 1, "restarts_in_window": 0, "last_exit": None}
    return {"path": path, "kind": kind, **quiet, "mailbox_depth": None, **more, "children": list(children)}


TREE = node(
    "root",
    "supervisor",
    node(
        "root/modules",
        "supervisor",
        node("root/modules/my::Thing", "supervisor", node("root/modules/my::Thing/logic"), strategy="rest_for_one"),
        node("root/modules/iii-http", "supervisor", strategy="rest_for_one"),
        strategy="one_for_one",
    ),
    node("root/connections", "dynamic"),
    strategy="one_for_one",
)


def test_children_stand_below_their_supervisor() -> None:
    assert list(lines(TREE, Paint())) == [
        "root  supervisor one_for_one  running",
        "├─ modules  supervisor one_for_one  running",
        "│  ├─ my::Thing  supervisor rest_for_one  running",
        "│  │  └─ logic  task  running",
        "│  └─ iii-http  supervisor rest_for_one  running",
        "└─ connections  dynamic  running",
    ]


REMARKS = [
    ({"incarnation": 3}, "a  task  running  incarnation 3"),
    ({"restarts_in_window": 2}, "a  task  running  restarts 2"),
    ({"kind": "actor", "mailbox_depth": 5}, "a  actor  running  mailbox 5"),
    ({"kind": "actor", "mailbox_depth": 0}, "a  actor  running"),
    ({"state": "restarting"}, "a  task  restarting"),
    ({"last_exit": {"reason": "stopped", "error": None}}, "a  task  running  last exit stopped"),
    (
        {"last_exit": {"reason": "crashed", "error": "ValueError: bad\n\x1b[2Jline"}},
        "a  task  running  last exit crashed: ValueError: bad  [2Jline",  # nothing acts on the terminal
    ),
]


@pytest.mark.parametrize(("more", "line"), REMARKS)
def test_what_is_out_of_the_ordinary_is_said(more: dict[str, Any], line: str) -> None:
    assert list(lines(node("a", **{"kind": "task", **more}), Paint())) == [line]


def test_colours_tell_the_states_apart() -> None:
    def painted(**more: Any) -> str:
        (line,) = lines(node("a", **more), Paint(colours=True))
        return line

    assert "\x1b[32mrunning\x1b[0m" in painted()
    assert "\x1b[33mrestarting\x1b[0m" in painted(state="restarting")
    assert "\x1b[31mstopped\x1b[0m" in painted(state="stopped")
    assert "\x1b[31mlast exit crashed: E\x1b[0m" in painted(last_exit={"reason": "crashed", "error": "E"})
