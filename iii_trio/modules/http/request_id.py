"""Requests that carry a name through logs and other systems (http.md 2.2, `request_id_header`)."""

import attrs

from iii_trio.kernel import Ids

from .request import decode_headers
from .seam import Request, Response


@attrs.frozen
class RequestIds:
    """Gives a request an id unless it has one, and its answer the same."""

    name: bytes
    ids: Ids

    def ensure(self, request: Request) -> tuple[Request, bytes]:
        """The request with an id among its headers, and the id."""
        name = self.name.decode()
        given = decode_headers([field for field in request.headers if field[0] == self.name]).get(name)
        if given:
            return request, given.encode()
        made = self.ids.new().encode()
        return attrs.evolve(request, headers=[*request.headers, (self.name, made)]), made

    def echo(self, answer: Response, request_id: bytes) -> Response:
        """The answer with the id, in the place of one that a function gave."""
        kept = [field for field in answer.headers if field[0] != self.name]
        return attrs.evolve(answer, headers=[*kept, (self.name, request_id)])
