"""What a handler says about itself, and what it is called with (worker SDK)."""

from functools import partial
from typing import Any

import attrs
import pytest
from msgspec import Raw

from iii_trio.kernel import Call
from iii_trio.protocol import Payload
from iii_trio.protocol.errors import InputRejected
from iii_trio.worker import InvocationContext
from iii_trio.worker._channels import Ref
from iii_trio.worker._functions import OfferedFunction, offer


@attrs.frozen
class Item:
    sku: str


class NoEnds:
    """Payloads of these tests hold no references of channels."""

    async def open_reader(self, ref: Ref) -> Any:
        raise AssertionError(ref)

    async def open_writer(self, ref: Ref) -> Any:
        raise AssertionError(ref)


def offered(handler: Any, **said: Any) -> OfferedFunction:
    nothing = {"description": None, "metadata": None, "request_format": None, "response_format": None}
    return offer("f", handler, NoEnds(), **{**nothing, **said})


async def result_of(handler: Any, text: str) -> Any:
    return (await offered(handler).run(Call("f", "i", Payload(Raw(text.encode()))))).value


async def test_every_kind_of_async_callable() -> None:
    async def plain(payload: Any) -> Any:
        return payload

    async def none() -> str:
        return "called"

    async def two(first: Any, second: Any) -> Any:
        return [first, second]

    async def with_default(payload: Any, retries: int = 3) -> Any:
        return [payload, retries]

    async def with_keyword(payload: Any, *, retries: int = 3) -> Any:
        return [payload, retries]

    class Object:
        async def method(self, payload: Any) -> Any:
            return [type(self).__name__, payload]

        async def __call__(self, payload: Any) -> Any:
            return ["call", payload]

    assert await result_of(plain, "1") == 1
    assert await result_of(none, "1") == "called"
    assert await result_of(partial(two, "bound"), "1") == ["bound", 1]
    assert await result_of(with_default, "1") == [1, 3]
    assert await result_of(with_keyword, "1") == [1, 3]
    assert await result_of(Object().method, "1") == ["Object", 1]
    assert await result_of(Object(), "1") == ["call", 1]


async def test_a_second_parameter_gets_the_context() -> None:
    async def handler(payload: Any, context: InvocationContext) -> Any:
        return [payload, context.function_id, context.invocation_id, context.caller_worker_id]

    assert await result_of(handler, '{"_caller_worker_id":"w"}') == [{"_caller_worker_id": "w"}, "f", "i", "w"]
    assert await result_of(handler, "[1]") == [[1], "f", "i", None]


async def test_a_mapping_of_classes_does_not_hold_the_engines_member() -> None:
    async def total(items: dict[str, Item]) -> list[str]:
        return [item.sku for item in items.values()]

    async def first(items: list[Item]) -> str:
        return items[0].sku

    assert await result_of(total, '{"a":{"sku":"x"},"_caller_worker_id":"w"}') == ["x"]
    assert await result_of(first, '[{"sku":"x"}]') == "x"


async def test_what_python_cannot_decode_is_the_callers_error() -> None:
    async def handler(payload: Any) -> Any:
        return payload

    for text in ("{", "NaN"):
        with pytest.raises(InputRejected, match="cannot be decoded"):
            await result_of(handler, text)


def test_formats_come_from_the_annotations_unless_given() -> None:
    async def handler(_: Item) -> list[Item]:
        return []

    async def untyped(_: dict[str, Any]) -> str:
        return ""

    function = offered(handler)
    assert function.request_format is not None
    assert function.request_format.value["title"] == "Item"
    assert function.response_format is not None
    assert function.response_format.value["type"] == "array"
    function = offered(handler, request_format={"mine": 1}, response_format=True)
    assert function.request_format == Payload.of({"mine": 1})
    assert function.response_format == Payload.of(True)
    assert offered(untyped).request_format is None
    assert offered(untyped).response_format is None


def test_annotations_that_cannot_be_resolved_are_refused() -> None:
    async def handler(payload: "NoSuchName") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(TypeError, match=r"annotations of .*handler.* cannot be resolved: name 'NoSuchName'"):
        offered(handler)
