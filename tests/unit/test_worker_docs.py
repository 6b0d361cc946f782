"""Every program in docs/worker.md runs."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from iii_trio import open_engine
from tests.waiting import eventually

TEXT = (Path(__file__).parents[2] / "docs" / "worker.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def program(name: str) -> Callable[..., Any]:
    """The function of that name, of the one program that has it."""
    (source,) = [source for source in PROGRAMS if f"async def {name}(" in source]
    found: dict[str, Any] = {"__name__": "docs"}
    exec(compile(source, f"docs/worker.md:{name}", "exec"), found)
    function: Callable[..., Any] = found[name]
    return function


async def test_serving_and_calling(capsys: pytest.CaptureFixture[str]) -> None:
    with trio.fail_after(10):
        async with open_engine({"modules": []}, host="127.0.0.1", port=0) as engine, trio.open_nursery() as nursery:
            host, port = engine.address
            url = f"ws://{host}:{port}"
            logged = trio.Event()
            total: list[Any] = []

            async def log(payload: Any) -> None:
                total.append(payload["total"])
                logged.set()

            engine.register("audit::log", log)
            nursery.start_soon(program("serve"), url)
            await eventually(lambda: engine.kernel.functions.find("default", "billing::over_http") is not None)
            assert await program("call")(url) == pytest.approx(29.7)
            await logged.wait()
            assert total == [pytest.approx(29.7)]
            request = {"path_params": {"sku": "A-7"}}
            answer = await engine.invoke("billing::over_http", request)
            assert answer == {"status_code": 200, "body": {"total": 9.9}}
            nursery.cancel_scope.cancel()
    assert "no refunds: Function billing::refund not found" in capsys.readouterr().out


async def test_piping_through_channels() -> None:
    with trio.fail_after(10):
        assert await program("pipe")() == b"TO BE OR NOT TO BE"


async def test_providing_a_trigger_type() -> None:
    with trio.fail_after(10):
        async with open_engine({"modules": []}, host="127.0.0.1", port=0) as engine, trio.open_nursery() as nursery:
            host, port = engine.address
            nursery.start_soon(program("provide"), f"ws://{host}:{port}")
            async with engine.worker("listener") as listener:
                send, receive = trio.open_memory_channel[Any](3)

                @listener.function("on::beat")
                async def on_beat(payload: Any) -> None:
                    await send.send(payload)

                await listener.register_trigger("metronome", "on::beat", {"every": 0}, trigger_id="refused")
                await listener.register_trigger("metronome", "on::beat", {"every": 0.01})
                for _ in range(3):
                    assert (await receive.receive()).keys() == {"_caller_worker_id"}
                assert [error.error.message for error in listener.trigger_errors] == ["`every` must be positive"]
            nursery.cancel_scope.cancel()


async def test_embedding() -> None:
    with trio.fail_after(10):
        assert await program("embed")() == "hello Ada"


def test_every_program_is_tried() -> None:
    assert len(PROGRAMS) == 5
