"""`engine::functions::list` and `engine::functions::info` (wire-protocol 13.2, 13.3)."""

from collections.abc import Iterable, Sequence

import attrs

from iii_trio.kernel import DEFAULT_NAMESPACE, Call, Function, Kernel, Trigger, Worker
from iii_trio.modules.built_in import BuiltIn
from iii_trio.protocol import Json
from iii_trio.protocol.errors import Forbidden, InvalidArguments, NotFound

from . import _schemas as schemas
from ._inputs import FunctionInfo, ListFunctions
from ._rows import Reader, Row, function_info, function_row, json_or_none, owner_name

_BATCH_LIMIT = 32
_INTERNAL = "engine::"
_PUBLIC = "engine::queue::"
Targets = dict[tuple[str, str], list[Trigger]]


@attrs.frozen
class FunctionIntrospection:
    """Tells callers which functions there are."""

    kernel: Kernel

    def built_ins(self) -> tuple[BuiltIn, ...]:
        return (
            BuiltIn.of(
                "engine::functions::list",
                "Lists the functions that can be called, with filters.",
                ListFunctions,
                schemas.FUNCTIONS,
                self.list_functions,
            ),
            BuiltIn.of(
                "engine::functions::info",
                "Describes a function, or up to 32 of them, with schemas and the triggers that fire them.",
                FunctionInfo,
                schemas.FUNCTION_OR_BATCH,
                self.info,
            ),
        )

    def list_functions(self, call: Call, asked: ListFunctions) -> Json:
        """The rows a caller wants, in the shape it can read."""
        reader = Reader.of(call.caller)
        functions = seen_by(call.caller, in_order(self.kernel.functions))
        if not asked.include_internal:
            functions = [function for function in functions if not _is_hidden(function, reader)]
        if not reader.is_old:
            functions = _chosen(functions, asked)
        return {"functions": [function_row(function, reader) for function in functions]}

    def info(self, call: Call, asked: FunctionInfo) -> Json:
        """One description, or a batch in which unknown and hidden ids are marked. Raises NotFound, Forbidden, InvalidArguments."""
        targets = triggers_by_target(self.kernel)
        if asked.function_ids is None and asked.function_id is not None:
            return describe(self._shown(call.caller, asked.function_id, asked.namespace), targets)
        wanted = tuple(dict.fromkeys(asked.function_ids or ()))
        if asked.function_id is not None or not 1 <= len(wanted) <= _BATCH_LIMIT:
            raise InvalidArguments(f"give either `function_id` or 1 to {_BATCH_LIMIT} `function_ids`")
        return {
            "functions": [self._described(call.caller, function_id, asked.namespace, targets) for function_id in wanted]
        }

    def _shown(self, reader: Worker | None, function_id: str, namespace: str | None) -> Function:
        """The function meant. Raises NotFound, or Forbidden if the reader may not know of it (11.9)."""
        function = find_function(self.kernel, function_id, namespace)
        if not seen_by(reader, [function]):
            raise Forbidden(f"Function '{function_id}' is not visible to this session.")
        return function

    def _described(self, reader: Worker | None, function_id: str, namespace: str | None, targets: Targets) -> Row:
        try:
            return describe(self._shown(reader, function_id, namespace), targets)
        except NotFound:
            return {"function_id": function_id, "error": "not_found"}
        except Forbidden:
            return {"function_id": function_id, "error": "forbidden"}


def seen_by(reader: Worker | None, functions: list[Function]) -> list[Function]:
    """Those of the functions that a worker may know of: on a guarded listener, what it may call (11.9)."""
    session = reader.session if reader is not None else None
    return functions if session is None else [function for function in functions if session.sees(function)]


def in_order(functions: Iterable[Function]) -> list[Function]:
    """Functions by id, then namespace."""
    return sorted(functions, key=lambda function: (function.id, function.namespace))


def find_function(kernel: Kernel, function_id: str, namespace: str | None) -> Function:
    """The function meant: in the namespace named, else in `default`, else in the only one that has it.

    Raises NotFound, naming the candidates if there are any (13.3).
    """
    candidates = kernel.functions.namespaces_of(function_id)
    home = _home(namespace, candidates)
    function = kernel.functions.find(home, function_id) if home is not None else None
    if function is not None:
        return function
    missing = "is not registered" if namespace is None else f"is not registered in namespace '{namespace}'"
    if not candidates:
        raise NotFound(f"Function '{function_id}' {missing}.")
    problem = "is ambiguous:" if namespace is None else f"{missing};"
    raise NotFound(
        f"Function '{function_id}' {problem} it is registered in namespace(s): {', '.join(candidates)}. "
        "Pass `namespace` to select one."
    )


def _home(namespace: str | None, candidates: Sequence[str]) -> str | None:
    """The namespace to look in, None if that is not clear."""
    if namespace is not None:
        return namespace
    if DEFAULT_NAMESPACE in candidates:
        return DEFAULT_NAMESPACE
    return candidates[0] if len(candidates) == 1 else None


def triggers_by_target(kernel: Kernel) -> Targets:
    """The live triggers of every function, by id."""
    targets: Targets = {}
    for trigger in sorted(kernel.triggers.live, key=lambda trigger: trigger.id):
        targets.setdefault((trigger.namespace, trigger.function_id), []).append(trigger)
    return targets


def describe(function: Function, targets: Targets) -> Row:
    """What `engine::functions::info` says of a function."""
    return function_info(function, targets.get((function.namespace, function.id), ()))


def _is_hidden(function: Function, reader: Reader) -> bool:
    if function.id.startswith(_INTERNAL):
        return reader.is_old or not function.id.startswith(_PUBLIC)
    metadata = None if reader.is_old else json_or_none(function.metadata)
    return isinstance(metadata, dict) and metadata.get("internal") is True


def _chosen(functions: Sequence[Function], asked: ListFunctions) -> list[Function]:
    """The functions that pass every filter; with `search` the best matches first."""
    names = {asked.worker, *(asked.workers or ())} - {None}
    chosen = [
        function
        for function in functions
        if function.id.startswith(asked.prefix or "") and (not names or owner_name(function) in names)
    ]
    if not asked.search:
        return chosen
    ranked = [(rank, function) for function in chosen if (rank := _rank(function, asked.search.lower())) is not None]
    return [function for _, function in sorted(ranked, key=lambda pair: pair[0])]


def _rank(function: Function, text: str) -> int | None:
    """How well a function matches: 0 start of the id or a whole segment, 1 in the id, 2 in the description."""
    function_id = function.id.lower()
    if function_id.startswith(text) or text in function_id.split("::"):
        return 0
    if text in function_id:
        return 1
    return 2 if text in (function.description or "").lower() else None
