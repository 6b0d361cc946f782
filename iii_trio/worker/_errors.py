from iii_trio.protocol.errors import IIIError


class WorkerRejected(IIIError):
    """The engine refuses this worker for good: another live worker holds its name in that namespace (wire-protocol 3.4)."""

    def __init__(self, code: str, namespace: str, name: str | None, owner_worker_id: str) -> None:
        super().__init__(
            f"the engine refuses worker {name} in namespace {namespace}: {code}, held by {owner_worker_id}"
        )
        self.code, self.namespace, self.name, self.owner_worker_id = code, namespace, name, owner_worker_id
