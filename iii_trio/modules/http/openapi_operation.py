"""One route as an operation of the description: what may be sent, what may come back."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from iii_trio.kernel import Function
from iii_trio.protocol import Json

from .config import HARD_BODY_LIMIT
from .openapi_formats import Format, Formats, Schema
from .openapi_paths import Parameter, Place
from .routes import Route

_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_OF_A_REQUEST: Final = frozenset({"body", "path_params", "query_params", "headers"})
_OF_AN_ANSWER: Final = frozenset({"body", "status_code", "statusCode"})
_NOT_PARAMETERS: Final = frozenset({"accept", "authorization", "content-type"})
_WITHOUT_CONTENT: Final = frozenset({"204", "304"})
_FREE: Final = "default"
_JSON: Final = "application/json"
_ERROR: Final = {"$ref": "#/components/schemas/Error"}


@attrs.define
class Answer:
    """The answers of one status: what they mean, and the schemas of their bodies by content type."""

    meanings: list[str] = attrs.field(factory=list)
    content: dict[str, list[Json]] = attrs.field(factory=dict)
    is_free: bool = False
    """Nothing is known of the body."""

    def describe(self, *, has_content: bool) -> Schema:
        shown: Schema = {"description": "; or ".join(dict.fromkeys(self.meanings))}
        if has_content and self.content and not self.is_free:
            shown["content"] = {kind: _media(schemas) for kind, schemas in self.content.items()}
        return shown


def _media(schemas: list[Json]) -> Schema:
    return {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}


@attrs.define(eq=False)
class Operation:
    """A route, where it is described, the function behind it if there is one, and what stands before it."""

    route: Route
    place: Place
    function: Function | None
    formats: Formats
    is_guarded: bool
    body_limit: int

    def describe(self) -> Schema:
        """The operation object."""
        request, response = self._formats()
        parameters = [*self._path(request), *_listed(request, "query_params", "query"), *_headers(request)]
        shown: Schema = {"tags": [self.route.function_id.partition("::")[0]]}
        if self.function is not None and self.function.description:
            shown["description"] = self.function.description
        if parameters:
            shown["parameters"] = parameters
        if self.route.method in _WITH_BODY and (body := _body(request)) is not None:
            shown["requestBody"] = body
        return {**shown, "responses": self._responses(response)}

    def _formats(self) -> tuple[Format | None, Format | None]:
        if self.function is None:
            return None, None
        name = self.route.function_id
        request = self.formats.take(self.function.request_format, f"{name}.request")
        if request is not None and not _OF_A_REQUEST & request.members(request.schema)[0].keys():
            request = None  # not about the request object: the function is called in other ways, too
        return request, self.formats.take(self.function.response_format, f"{name}.response")

    def _path(self, request: Format | None) -> Iterator[Schema]:
        known = _part(request, "path_params")[0]
        for parameter in self.place.parameters:
            shown = {"name": parameter.shown, "in": "path", "required": True, "schema": _of(parameter, known)}
            if parameter.takes_rest:
                shown["description"] = "All that remains of the path, slashes included."
            yield shown

    def _responses(self, response: Format | None) -> Schema:
        answers: dict[str, Answer] = {}
        self._own(answers, response)
        if self.is_guarded:
            free = answers.setdefault(_FREE, Answer())
            free.meanings.append("what a middleware answers")
            free.is_free = True
        for status, meaning in self._of_the_engine():
            answer = answers.setdefault(status, Answer())
            answer.meanings.append(meaning)
            answer.content.setdefault(_JSON, []).append(_ERROR)
        late = answers.setdefault("504", Answer())
        late.meanings.append("no answer in time")
        late.is_free = True
        has_content = self.route.method != "HEAD"
        return {
            status: answer.describe(has_content=has_content and status not in _WITHOUT_CONTENT)
            for status, answer in sorted(answers.items())
        }

    def _own(self, answers: dict[str, Answer], response: Format | None) -> None:
        """What the function itself answers, by its format."""
        for one in response.alternatives(response.schema) if response is not None else ():
            properties = one.get("properties")
            if response is None or not isinstance(properties, dict) or not _OF_AN_ANSWER & properties.keys():
                continue
            for status in _statuses(response, properties):
                answer = answers.setdefault(status, Answer())
                answer.meanings.append(str(one.get("description") or "what the function answers"))
                answer.content.setdefault(_content_type(response, properties), []).append(properties.get("body", {}))
        if not answers:
            answers[_FREE] = Answer(["what the function answers"], is_free=True)

    def _of_the_engine(self) -> Iterator[tuple[str, str]]:
        if self.route.method in _WITH_BODY:
            kind = "a body" if self.body_limit < HARD_BODY_LIMIT else "a JSON body"
            yield "413", f"{kind} of more than {self.body_limit} bytes"
        if self.route.condition_function_id is not None:
            yield "422", "the condition of the route is not met"
        yield "500", "the function failed"
        yield "503", "the engine is stopping, or too busy"


def _part(request: Format | None, name: str) -> tuple[Mapping[str, Json], frozenset[str]]:
    """The members of one member of the request object, and which of them are required."""
    if request is None:
        return {}, frozenset()
    return request.members(request.members(request.schema)[0].get(name))


def _of(parameter: Parameter, known: Mapping[str, Json]) -> Json:
    return known.get(parameter.name, {"type": "string", "minLength": 1})


def _listed(request: Format | None, name: str, where: str) -> Iterator[Schema]:
    properties, required = _part(request, name)
    for key, schema in properties.items():
        yield {"name": key, "in": where, "required": key in required, "schema": schema}


def _headers(request: Format | None) -> Iterator[Schema]:
    """Header parameters; those with rules of their own in OpenAPI are none."""
    return (shown for shown in _listed(request, "headers", "header") if shown["name"].lower() not in _NOT_PARAMETERS)


def _body(request: Format | None) -> Schema | None:
    if request is None:
        return None
    properties, required = request.members(request.schema)
    if "body" not in properties:
        return None
    return {"required": "body" in required, "content": {_JSON: {"schema": properties["body"]}}}


def _statuses(response: Format, properties: Mapping[str, Json]) -> list[str]:
    """The statuses an answer may have: those it names, any if it leaves them open, 200 if it has none."""
    key = next((key for key in ("status_code", "statusCode") if key in properties), None)
    if key is None:
        return ["200"]
    said = response.resolve(properties[key])
    named = said["enum"] if isinstance(said.get("enum"), list) else [said["const"]] if "const" in said else []
    return [str(one) for one in named if type(one) is int and 200 <= one <= 599] or [_FREE]


def _content_type(response: Format, properties: Mapping[str, Json]) -> str:
    """The one its headers always have, else JSON."""
    for name, schema in response.members(properties.get("headers"))[0].items():
        said: Any = response.resolve(schema).get("const")
        if name.lower() == "content-type" and isinstance(said, str):
            return said.partition(";")[0].strip()
    return _JSON
