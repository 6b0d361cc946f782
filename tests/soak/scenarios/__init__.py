"""One file per scenario. A scenario is one round of work that leaves nothing behind when it returns."""

from collections.abc import Awaitable, Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Final

from tests.soak.place import Place

from . import channels, http, mix

Scenario = Callable[[Place, Random], Awaitable[None]]
SCENARIOS: Final[Mapping[str, Scenario]] = MappingProxyType(
    {"mix": mix.run, "channels": channels.run, "http": http.run}
)
