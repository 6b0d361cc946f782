"""Functions that are HTTP endpoints elsewhere, as far as the kernel knows them (wire-protocol 6).

What was registered is kernel state and outlives the module that calls the endpoints: while that is being restarted, calls
answer `module_unavailable` and registrations wait for it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Protocol

import attrs
import trio

from iii_trio.protocol import Payload
from iii_trio.protocol.errors import IIIError, ModuleUnavailable
from iii_trio.protocol.messages import ABSENT, RegisterFunction

from .functions import Call, Handler

CHECK_DEADLINE: Final = 10.0
"""Seconds a registration may hold up the later messages of its connection (1.4)."""


class RegistrationRefused(IIIError):
    """An HTTP-invoked function is not registered; the text says why, and holds no secret."""


class HttpFunction(RegisterFunction, frozen=True, tag="registerfunction", omit_defaults=True, gc=True):
    """The registration of an HTTP-invoked function that passed its checks, with what runs it. Never on the wire."""

    handler: Any = None


class HttpFunctionRunner(Protocol):
    """Whoever calls the endpoints; offers itself with `HttpFunctions.served_by`."""

    async def prepare(self, message: RegisterFunction) -> object:
        """Check a registration; returns what `run` needs, which must not depend on this runner.

        Raises RegistrationRefused.
        """
        ...

    async def run(self, target: Any, call: Call) -> Payload:
        """Call the endpoint. Raises InvocationError."""
        ...


@attrs.define(eq=False)
class HttpFunctions:
    """Where HTTP-invoked functions are admitted and called, by whoever serves at that moment."""

    _runner: HttpFunctionRunner | None = None
    _comes_back: trio.Event | None = None
    """Set when the next runner serves; None if there has never been one."""

    @contextmanager
    def served_by(self, runner: HttpFunctionRunner) -> Iterator[None]:
        """For the length of a block, let `runner` check and call."""
        self._runner, waiting = runner, self._comes_back
        if waiting is not None:
            waiting.set()
        try:
            yield
        finally:
            self._runner, self._comes_back = None, trio.Event()

    async def admit(self, message: RegisterFunction) -> HttpFunction:
        """Check a registration, waiting for a runner that is being restarted. Raises RegistrationRefused.

        The caller's cancel scope is the deadline.
        """
        while self._runner is None:
            if self._comes_back is None:
                raise RegistrationRefused("the module of HTTP-invoked functions, iii-http-functions, is not loaded")
            await self._comes_back.wait()
        target = await self._runner.prepare(message)
        said = {name: getattr(message, name) for name in RegisterFunction.__struct_fields__}
        handler: Handler = partial(self._run, target)
        return HttpFunction(**said, handler=handler)

    async def _run(self, target: object, call: Call) -> Payload:
        if self._runner is None:
            raise ModuleUnavailable(f"the module that calls {call.function_id} is being restarted")
        return await self._runner.run(target, call)


def is_http_invoked(message: RegisterFunction) -> bool:
    """Whether a registration is of an HTTP endpoint: it has an `invocation` that is not null (2.4)."""
    return message.invocation is not ABSENT and not Payload(message.invocation).is_null
