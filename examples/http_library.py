"""A library over HTTP: fifteen routes with parameters, formats, errors, a guard and a condition, described at /openapi.json.

    python -m examples.http_library 3111

then `curl http://127.0.0.1:3111/openapi.json`, `curl http://127.0.0.1:3111/books?limit=2`. Every function says in its formats
what it takes and answers, refuses with 400 what does not fit, and the engine puts all of that into the description.
"""

import sys
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import attrs
import jsonschema_rs
import trio

from iii_trio import open_engine
from iii_trio.worker import Worker

Json = Any
Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
MOST_BOOKS = 1_000
MOST_REVIEWS = 100
PARTS = ("path_params", "query_params", "headers")

TEXT = {"type": "string", "minLength": 1, "maxLength": 200}
ISBN = {"type": "string", "pattern": "^[0-9]{3,13}$"}
NUMBER = {"type": "integer", "minimum": 1, "maximum": 100}
MEMBERS = {"title": TEXT, "author": TEXT, "year": {"type": "integer", "minimum": 1400, "maximum": 2100}}


def record(properties: Json, *required: str) -> Json:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


BOOK = record({"isbn": ISBN, **MEMBERS}, "isbn", "title", "author")
CONTENT = record(MEMBERS, "title", "author")
CHANGE = {**record(MEMBERS), "minProperties": 1}
REVIEW = record({"stars": {"type": "integer", "minimum": 1, "maximum": 5}, "text": TEXT}, "stars")
SEARCH = record({"words": {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 10}, "limit": NUMBER}, "words")
LOAN = record({"isbn": ISBN, "member": TEXT}, "isbn", "member")
PROBLEM = record({"problem": {"type": "string"}}, "problem")


def answer(status: int, description: str, body: Json = None, kind: str | None = None) -> Json:
    """One thing a function may answer, as its `response_format` says it."""
    properties: dict[str, Json] = {"status_code": {"const": status}}
    if body is not None:
        properties["body"] = body
    if kind is not None:
        properties["headers"] = {"properties": {"content-type": {"const": kind}}}
    return {"type": "object", "description": description, "properties": properties, "required": ["status_code"]}


MISFIT = answer(400, "the request does not fit its format", PROBLEM)
MISSING = answer(404, "there is no such book", PROBLEM)


def takes(body: Json = None, path: Json = None, query: Json = None, headers: Json = None) -> Json:
    """What a function takes, as its `request_format` says it."""
    parts = {"body": body, "path_params": path, "query_params": query, "headers": headers}
    properties = {
        name: schema if name == "body" else {"type": "object", "properties": schema}
        for name, schema in parts.items()
        if schema is not None
    }
    return {"type": "object", "properties": properties, "required": ["body"] if body is not None else []}


def refuse(status: int, problem: str) -> dict[str, Any]:
    return {"status_code": status, "body": {"problem": problem}}


def no_book() -> dict[str, Any]:
    return refuse(404, "there is no such book")


@attrs.define
class Library:
    """The books, in memory and not too many."""

    books: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    reviews: dict[str, list[dict[str, Any]]] = attrs.field(factory=dict)

    def put(self, isbn: str, content: dict[str, Any]) -> dict[str, Any]:
        while isbn not in self.books and len(self.books) >= MOST_BOOKS:
            oldest = next(iter(self.books))
            del self.books[oldest]
            self.reviews.pop(oldest, None)
        self.books[isbn] = {**content, "isbn": isbn}
        return self.books[isbn]

    async def list(self, request: dict[str, Any]) -> dict[str, Any]:
        limit, author = int(request["query_params"].get("limit", "10")), request["query_params"].get("author")
        found = [book for book in self.books.values() if author in {None, book["author"]}]
        return {"status_code": 200, "body": found[:limit]}

    async def add(self, request: dict[str, Any]) -> dict[str, Any]:
        isbn = request["body"]["isbn"]
        if isbn in self.books:
            return refuse(409, "there is a book with this number")
        return {
            "status_code": 201,
            "headers": {"location": f"/books/{isbn}"},
            "body": self.put(isbn, request["body"]),
        }

    async def get(self, request: dict[str, Any]) -> dict[str, Any]:
        book = self.books.get(request["path_params"]["isbn"])
        return {"status_code": 200, "body": book} if book else no_book()

    async def replace(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"status_code": 200, "body": self.put(request["path_params"]["isbn"], request["body"])}

    async def change(self, request: dict[str, Any]) -> dict[str, Any]:
        book = self.books.get(request["path_params"]["isbn"])
        if book is None:
            return no_book()
        book.update(request["body"])
        return {"status_code": 200, "body": book}

    async def remove(self, request: dict[str, Any]) -> dict[str, Any]:
        isbn = request["path_params"]["isbn"]
        if self.books.pop(isbn, None) is None:
            return no_book()
        self.reviews.pop(isbn, None)
        return {"status_code": 204}

    async def cover(self, request: dict[str, Any]) -> dict[str, Any]:
        book = self.books.get(request["path_params"]["isbn"])
        if book is None:
            return no_book()
        return {"status_code": 200, "headers": {"content-type": "text/plain"}, "body": f"{book['title']}\n"}

    async def reviews_of(self, request: dict[str, Any]) -> dict[str, Any]:
        isbn = request["path_params"]["isbn"]
        return {"status_code": 200, "body": self.reviews.get(isbn, [])} if isbn in self.books else no_book()

    async def review(self, request: dict[str, Any]) -> dict[str, Any]:
        isbn = request["path_params"]["isbn"]
        if isbn not in self.books:
            return no_book()
        self.reviews[isbn] = [*self.reviews.get(isbn, []), request["body"]][-MOST_REVIEWS:]
        return {"status_code": 201, "body": request["body"]}

    async def by(self, request: dict[str, Any]) -> dict[str, Any]:
        author = request["path_params"]["author"]
        return {"status_code": 200, "body": [book for book in self.books.values() if book["author"] == author]}

    async def shelf(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"status_code": 200, "body": {"shelf": request["path_params"]["place"].split("/")}}

    async def search(self, request: dict[str, Any]) -> dict[str, Any]:
        words = [word.lower() for word in request["body"]["words"]]
        found = [book for book in self.books.values() if all(word in book["title"].lower() for word in words)]
        return {"status_code": 200, "body": found[: int(request["body"].get("limit", 10))]}

    async def lend(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"status_code": 201, "body": request["body"]} if request["body"]["isbn"] in self.books else no_book()

    async def card(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"status_code": 200, "body": {"key": request["headers"]["x-api-key"]}}


async def is_no_debtor(request: dict[str, Any]) -> bool:
    """The condition of `POST /loans`: only false refuses."""
    body = request["body"]
    return not (isinstance(body, dict) and body.get("member") == "debtor")


async def has_key(asked: dict[str, Any]) -> dict[str, Any]:
    """The guard of `/me`."""
    if asked["request"]["headers"].get("x-api-key"):
        return {"action": "continue"}
    return {"action": "respond", "response": {"status_code": 401, "body": {"problem": "no key"}}}


BY_ISBN = {"isbn": ISBN}
BOOKS = {"type": "array", "items": BOOK}
LISTED = {"limit": NUMBER, "author": TEXT}

Route = tuple[str, str, Handler, Json, list[Json]]


def routes(library: Library) -> list[Route]:
    """Method, path, handler, what it takes, and what it answers beside 400."""
    found = answer(200, "the book", BOOK)
    return [
        ("GET", "books", library.list, takes(query=LISTED), [answer(200, "the first books", BOOKS)]),
        (
            "POST",
            "books",
            library.add,
            takes(BOOK),
            [answer(201, "the new book", BOOK), answer(409, "it is there already", PROBLEM)],
        ),
        ("GET", "books/:isbn", library.get, takes(path=BY_ISBN), [found, MISSING]),
        ("HEAD", "books/:isbn", library.get, takes(path=BY_ISBN), [found, MISSING]),
        ("PUT", "books/:isbn", library.replace, takes(CONTENT, BY_ISBN), [found]),
        ("PATCH", "books/:isbn", library.change, takes(CHANGE, BY_ISBN), [found, MISSING]),
        ("DELETE", "books/:isbn", library.remove, takes(path=BY_ISBN), [answer(204, "it is gone"), MISSING]),
        (
            "GET",
            "books/:isbn/cover",
            library.cover,
            takes(path=BY_ISBN),
            [answer(200, "its title", {"type": "string"}, "text/plain"), MISSING],
        ),
        (
            "GET",
            "books/:isbn/reviews",
            library.reviews_of,
            takes(path=BY_ISBN),
            [answer(200, "its reviews", {"type": "array", "items": REVIEW}), MISSING],
        ),
        (
            "POST",
            "books/:isbn/reviews",
            library.review,
            takes(REVIEW, BY_ISBN),
            [answer(201, "the review", REVIEW), MISSING],
        ),
        ("GET", "authors/{author}", library.by, takes(path={"author": TEXT}), [answer(200, "their books", BOOKS)]),
        (
            "GET",
            "shelves/{*place}",
            library.shelf,
            takes(path={"place": TEXT}),
            [answer(200, "where it is", record({"shelf": {"type": "array", "items": {"type": "string"}}}, "shelf"))],
        ),
        ("POST", "search", library.search, takes(SEARCH), [answer(200, "what was found", BOOKS)]),
        ("POST", "loans", library.lend, takes(LOAN), [answer(201, "the loan", LOAN), MISSING]),
        (
            "GET",
            "me",
            library.card,
            takes(headers={"x-api-key": TEXT}),
            [answer(200, "your card", record({"key": TEXT}, "key"))],
        ),
    ]


MORE = {
    ("POST", "loans"): {"condition_function_id": "library::is_no_debtor"},
    ("GET", "me"): {"middleware_function_ids": ["library::has_key"]},
}


def checked(handler: Handler, takes: Json) -> Handler:
    """The handler, asked only for requests that fit what it takes. Parameters come as text: their numbers are read here."""
    properties = takes["properties"]
    body = jsonschema_rs.validator_for(properties["body"]) if "body" in properties else None
    parts = {name: properties[name]["properties"] for name in PARTS if name in properties}

    async def run(request: dict[str, Any]) -> dict[str, Any]:
        request["path_params"] = {name: unquote(value) for name, value in request["path_params"].items()}
        for part, schemas in parts.items():
            for name, schema in schemas.items():
                text = request[part].get(name)
                if text is not None and not jsonschema_rs.is_valid(schema, _read(text, schema)):
                    return refuse(400, f"{name} does not fit")
        if body is not None and not body.is_valid(request["body"]):
            return refuse(400, "the body does not fit")
        return await handler(request)

    return run


def _read(text: str, schema: Json) -> Json:
    is_number = schema["type"] == "integer" and text.isascii() and text.removeprefix("-").isdecimal() and len(text) < 20
    return int(text) if is_number else text


async def offer(worker: Worker, library: Library) -> None:
    """Register every function and its route."""
    worker.register_function("library::is_no_debtor", is_no_debtor)
    worker.register_function("library::has_key", has_key)
    for method, path, handler, request_format, answers in routes(library):
        name = f"library::{handler.__name__}" + ("_head" if method == "HEAD" else "")
        worker.register_function(
            name,
            checked(handler, request_format),
            request_format=request_format,
            response_format={"anyOf": [*answers, MISFIT]},
        )
        config = {"api_path": path, "http_method": method, **MORE.get((method, path), {})}
        await worker.register_trigger("http", name, config)


async def main(port: int) -> None:
    http = {"host": "127.0.0.1", "port": port, "openapi": True}
    config = {"workers": [{"name": "iii-http", "config": http}]}
    async with open_engine(config, host="127.0.0.1", port=0) as engine, engine.worker("library") as worker:
        await offer(worker, Library())
        host, bound = engine.addresses["http"]
        print(f"http://{host}:{bound}", flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 3111)
