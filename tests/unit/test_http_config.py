"""The block of the http module, against http.md 2."""

import attrs
import pytest

from iii_trio.modules.http import CorsConfig, HttpConfig, MiddlewareConfig
from iii_trio.modules.http.config import HARD_BODY_LIMIT


def test_defaults_are_those_of_the_specification() -> None:
    config = HttpConfig()
    assert (config.host, config.port, config.default_timeout, config.concurrency_request_limit) == (
        "0.0.0.0",
        3111,
        30_000,
        1024,
    )  # http 1
    assert config.cors is None
    assert config.body_limit is None


def test_every_key_is_documented() -> None:
    keys = [*attrs.fields(HttpConfig), *attrs.fields(CorsConfig), *attrs.fields(MiddlewareConfig)]
    assert all(len(key.metadata["doc"]) > 20 for key in keys)


def test_derived_values() -> None:
    assert HttpConfig(default_timeout=1500).timeout == 1.5
    assert HttpConfig(concurrency_request_limit=0).slots == 1  # http 6
    assert HttpConfig(concurrency_request_limit=7).slots == 7
    assert HttpConfig().body_in_memory == HARD_BODY_LIMIT
    assert HttpConfig(body_limit=10).body_in_memory == 10
    assert HttpConfig(body_limit=1 << 40).body_in_memory == HARD_BODY_LIMIT


def test_middleware_runs_by_priority_and_then_as_listed() -> None:
    entries = (("b", 5), ("c", -1), ("d", 5), ("a", -1))
    config = HttpConfig(middleware=tuple(MiddlewareConfig(name, priority=at) for name, at in entries))
    assert config.middleware_ids == ("c", "a", "b", "d")


def test_middleware_of_another_phase_does_not_run() -> None:
    config = HttpConfig(middleware=(MiddlewareConfig("a", phase="onRequest"), MiddlewareConfig("b")))
    assert config.middleware_ids == ("b",)


@pytest.mark.parametrize("name", ["", "x request", "x:y", "é"])
def test_a_request_id_travels_in_a_header_that_there_can_be(name: str) -> None:
    with pytest.raises(ValueError, match="`request_id_header` must be the name of a header"):
        HttpConfig(request_id_header=name)
