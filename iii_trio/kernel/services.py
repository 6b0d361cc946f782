"""Services (wire-protocol 9): bookkeeping without effect on routing, and objects that modules publish for each other."""

import attrs


@attrs.define(eq=False)
class ServiceRegistry:
    """Names announced by SDKs up to 0.12, and module objects by name (config-cli-modules 8). Bounded by `limit` names."""

    limit: int = 10_000
    _announced: dict[str, str | None] = attrs.field(factory=dict)
    _objects: dict[str, object] = attrs.field(factory=dict)

    def announce(self, name: str, description: str | None) -> bool:
        """Note a service; the last one of a name counts. False when the table is full and the name is new."""
        if name not in self._announced and len(self._announced) >= self.limit:
            return False
        self._announced[name] = description
        return True

    def register(self, name: str, service: object) -> None:
        """Publish an object of a module; a later one of the same name replaces it."""
        self._objects[name] = service

    def get(self, name: str) -> object | None:
        """The published object, or None. Look it up when it is used: modules start in any order."""
        return self._objects.get(name)

    def statistics(self) -> int:
        """How many services have been announced."""
        return len(self._announced)
