"""Every error code is raised somewhere and explained in docs/protocol.md; bodies and exceptions turn into each other."""

import ast
import re
from pathlib import Path

import msgspec
import pytest

from iii_trio.protocol import ErrorBody, Payload, errors
from iii_trio.protocol.errors import (
    Codes,
    ConfigError,
    IIIError,
    InvocationError,
    from_error_body,
    to_error_body,
    ungrouped,
)
from iii_trio.protocol.payload import NULL

ROOT = Path(__file__).parents[2]
CLASSES = {cls.__name__: cls for cls in InvocationError.__subclasses__() if cls.__module__ == errors.__name__}
LOOSE = {name: value for name, value in vars(Codes).items() if name.isupper()}
RELAYED = {"invocation_error", "function_not_invokable"}
"""Codes that only peers set; the engine passes them on."""


def _sources() -> list[ast.Module]:
    files = [
        file for file in ROOT.glob("iii_trio/**/*.py") if file.name != "errors.py" or file.parent.name != "protocol"
    ]
    return [ast.parse(file.read_text()) for file in files]


def _used() -> set[str]:
    """Names of error classes that are made or whose code is sent, and of loose codes that are read."""
    used = set()
    for tree in _sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise | ast.Call):
                made = node.func if isinstance(node, ast.Call) else node.exc
                if isinstance(made, ast.Name):
                    used.add(made.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                used.add(node.attr if node.value.id == "Codes" else node.value.id if node.attr == "code" else "")
    return used


USED = _used()


@pytest.mark.parametrize("name", [*CLASSES, *LOOSE])
def test_every_code_is_raised_somewhere(name: str) -> None:
    assert name in USED


def test_the_page_explains_every_code_and_no_other() -> None:
    page = (ROOT / "docs/protocol.md").read_text()
    section = page.partition("## Error codes")[2].partition("\n## ")[0]
    explained = re.findall(r"^\| `([A-Za-z_]+)` \|", section, re.MULTILINE)
    assert len(explained) == len(set(explained))
    assert set(explained) == {cls.code for cls in CLASSES.values()} | set(LOOSE.values()) | RELAYED


def test_the_page_explains_every_message_and_close_reason() -> None:
    from iii_trio.protocol.messages import AnyMessage
    from iii_trio.sockets import CloseReason

    page = (ROOT / "docs/protocol.md").read_text()
    names = [message.__name__.lower() for message in AnyMessage.__args__]
    assert [name for name in [*names, *CloseReason] if f"`{name}`" not in page] == []


def test_codes_are_unique() -> None:
    codes = [cls.code for cls in CLASSES.values()] + list(LOOSE.values())
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("cls", CLASSES.values())
def test_an_error_survives_the_wire(cls: type[InvocationError]) -> None:
    error = from_error_body(to_error_body(cls("what happened", stacktrace="where")))
    assert type(error) is cls
    assert (error.code, error.message, error.stacktrace) == (cls.code, "what happened", "where")
    assert str(error) == f"{cls.code}: what happened"


def test_unknown_codes_and_foreign_exceptions_have_a_body_too() -> None:
    relayed = from_error_body(ErrorBody("OWN", "m"))
    assert (type(relayed), relayed.code) == (InvocationError, "OWN")
    assert to_error_body(ValueError("text")) == ErrorBody("invocation_failed", "text")
    assert to_error_body(FileNotFoundError("caf\udce9")) == ErrorBody("invocation_failed", "caf\\udce9")
    own = InvocationError("\ud800", code="\ud801", stacktrace="\ud802")
    assert to_error_body(own) == ErrorBody("\\ud801", "\\ud800", "\\ud802")
    assert to_error_body(KeyboardInterrupt()) == ErrorBody("invocation_failed", "KeyboardInterrupt")


def test_a_group_of_one_is_its_error() -> None:
    alone, two = ValueError("alone"), ExceptionGroup("two", [ValueError(), KeyError()])
    assert ungrouped(alone) is alone
    assert ungrouped(ExceptionGroup("outer", [ExceptionGroup("inner", [alone])])) is alone
    assert ungrouped(ExceptionGroup("outer", [two])) is two


def test_a_configuration_error_lists_its_problems() -> None:
    error = ConfigError(["one", "two"])
    assert (error.problems, str(error)) == (("one", "two"), "one\ntwo")
    assert ConfigError("alone").problems == ("alone",)
    assert isinstance(error, IIIError)


def test_payloads_compare_by_their_text_and_show_its_beginning() -> None:
    payload = Payload.of({"a": 1})
    assert Payload.of(payload) is payload
    assert payload == Payload(msgspec.Raw(b'{"a":1}'))
    assert payload != Payload.of({"a": 2})
    assert payload != {"a": 1}
    assert len({payload, Payload.of({"a": 1}), NULL}) == 2
    assert repr(payload) == "Payload(b'{\"a\":1}')"
    assert repr(Payload.of("x" * 100)).endswith("...)")
    assert payload.value is payload.value
    assert NULL.is_null
