"""The module of HTTP-invoked functions: its life (config-cli-modules 1.8, wire-protocol 6)."""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import trio

from iii_trio.clients.outbound import Outbound, TcpOutbound
from iii_trio.kernel import Call, Kernel, ModuleOwner
from iii_trio.protocol import Payload
from iii_trio.protocol.messages import RegisterFunction

from .config import HttpFunctionsConfig

if TYPE_CHECKING:
    from iii_trio.clients.http import HttpClient

    from .runner import Runner


_CLOSE_BUDGET = 1.0


def open_http_client(outbound: Outbound) -> "HttpClient":
    """The client used unless another is given. Imported here: it takes some 70 ms to load."""
    from iii_trio.clients.http import HttpClient

    return HttpClient(outbound)


@attrs.frozen
class HttpFunctionsStatistics:
    """Counts of the running incarnation."""

    in_flight: int


@attrs.define(eq=False)
class HttpFunctionsModule:
    """Admits HTTP-invoked functions and calls their endpoints. What was registered is the kernel's and outlives a crash.

    Args:
      config: its block in the configuration file.
      owner: the module as the kernel knows it.
      outbound: resolves names and connects.
      environment: where registrations find their secrets, by name.
      open_client: makes the client, when the first call needs it.
    """

    config: HttpFunctionsConfig
    owner: ModuleOwner
    outbound: Outbound = attrs.field(factory=TcpOutbound)
    environment: Mapping[str, str] = attrs.field(default=os.environ, repr=False)
    open_client: Callable[[Outbound], "HttpClient"] = open_http_client
    _runner: "Runner | None" = attrs.field(default=None, init=False)

    async def run(self, kernel: Kernel, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. Calls under way end with `invocation_stopped` then, later ones `module_unavailable`."""
        serving = _Serving(kernel, self)
        try:
            with kernel.http_functions.served_by(serving):
                task_status.started()
                await trio.sleep_forever()
        finally:
            if self._runner is not None:
                with trio.move_on_after(_CLOSE_BUDGET, shield=True):
                    await self._runner.close()

    def runner(self, kernel: Kernel) -> "Runner":
        """What does the work, made when the first registration or call comes: few engines need it."""
        if self._runner is None:
            from .policy import UrlPolicy
            from .runner import Runner

            policy = UrlPolicy.of(self.config.security)
            self._runner = Runner(kernel, policy, self.outbound, self.environment, self.open_client)
        return self._runner

    def statistics(self) -> HttpFunctionsStatistics:
        """Counts, for monitoring and leak tests."""
        return HttpFunctionsStatistics(self._runner.in_flight if self._runner else 0)


@attrs.frozen
class _Serving:
    """Offers a module's runner to the kernel without making it."""

    kernel: Kernel
    module: HttpFunctionsModule

    async def prepare(self, message: RegisterFunction) -> object:
        return await self.module.runner(self.kernel).prepare(message)

    async def run(self, target: Any, call: Call) -> Payload:
        return await self.module.runner(self.kernel).run(target, call)
