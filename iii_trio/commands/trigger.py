"""`iii-trio trigger`: call one function of a running engine and print what it answers (config-cli-modules 10.2)."""

from typing import Final, TextIO
from uuid import uuid4

import attrs
import msgspec
from msgspec import Raw

from iii_trio.protocol import ErrorBody, Json, decode_json, encode_json, is_null
from iii_trio.protocol.errors import NotFound
from iii_trio.protocol.messages import ABSENT, InvocationResult

from ._client import EngineAddress, EngineUnreachable, Question, ask
from ._payload import BadPayload, Given

_DESCRIBE: Final = "engine::functions::info"
_HELP_TIMEOUT: Final = 1.5  # seconds; with the time to start this program it is two (10.2)


@attrs.frozen
class TriggerOptions:
    """What the command line says. `timeout` is in seconds; `function_id` is None if no function is named."""

    engine: EngineAddress
    function_id: str | None = None
    given: Given = attrs.field(factory=Given)
    timeout: float = 30.0
    namespace: str | None = None


def trigger(options: TriggerOptions, stdout: TextIO, stderr: TextIO) -> int:
    """Call the function and print its result as JSON, nothing for null; errors go to `stderr`. Returns the exit code."""
    try:
        if options.function_id is None:
            raise BadPayload("iii trigger: missing FUNCTION_PATH (iii-trio trigger FUNCTION_PATH [key=value ...])")
        payload = options.given.payload()
        question = Question(str(uuid4()), options.function_id, payload, options.namespace)
        answer = ask(options.engine, question, options.timeout)
    except (BadPayload, EngineUnreachable) as error:
        print(f"Error: {error}", file=stderr)
        return 1
    return _report(answer, stdout, stderr)


def _report(answer: InvocationResult, stdout: TextIO, stderr: TextIO) -> int:
    error = answer.error
    if error is not None:
        body = {"code": error.code, "message": error.message, "stacktrace": error.stacktrace}
        print(f"Error: {pretty(encode_json(body))}", file=stderr)
        return 1
    if answer.result is not ABSENT and not is_null(answer.result):
        print(pretty(answer.result), file=stdout)
    return 0


def pretty(text: bytes | Raw) -> str:
    """JSON text laid out over lines, two spaces deep; every value stays as it was written."""
    return msgspec.json.format(bytes(text), indent=2).decode()


def describe(options: TriggerOptions, usage: str, stdout: TextIO, stderr: TextIO) -> int:
    """`trigger FUNCTION_PATH --help`: what the running engine knows of the function; `usage` if there is no engine."""
    asked = {"function_id": options.function_id, **({"namespace": options.namespace} if options.namespace else {})}
    question = Question(str(uuid4()), _DESCRIBE, encode_json(asked))
    try:
        answer = ask(options.engine, question, min(options.timeout, _HELP_TIMEOUT))
    except EngineUnreachable as error:
        print(usage, file=stdout)
        print(f"note: nothing is known of `{options.function_id}`: {error}", file=stderr)
        return 0
    if answer.error is not None:
        print(f"error: {_refusal(options.function_id, answer.error)}", file=stderr)
        return 1
    print(_description(options, decode_json(memoryview(answer.result))), file=stdout)
    return 0


def _refusal(function_id: str | None, error: ErrorBody) -> str:
    if error.code != NotFound.code:
        return f"{error.code}: {error.message}"
    text = f"function `{function_id}` not found in engine registry."
    return f"{text}\n{error.message}" if "namespace" in error.message else text


def _description(options: TriggerOptions, info: Json) -> str:
    parts = [f"{options.function_id}", f"Usage: iii-trio trigger {options.function_id} [key=value ...] [--json JSON]"]
    if info.get("description"):
        parts.insert(1, str(info["description"]))
    schema = info.get("request_schema")
    parts.append(
        f"Request schema:\n{pretty(encode_json(schema))}" if schema is not None else "Request schema: none given"
    )
    return "\n\n".join(parts)
