"""What happens in the kernel, as a stream of plain facts for tests, traces and trigger types."""

from collections.abc import Callable

import attrs

Listener = Callable[[str, str], None]


@attrs.define(eq=False)
class KernelEvents:
    """Synchronous fan-out of `(kind, id)`. Listeners run inside the change and must neither wait nor raise."""

    listeners: list[Listener] = attrs.field(factory=list)

    def emit(self, kind: str, subject: str) -> None:
        """Tell every listener; costs one attribute test when there is none."""
        for listener in self.listeners:
            listener(kind, subject)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Add a listener; the returned function takes it away again."""
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)
