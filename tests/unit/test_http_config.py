"""The block of the http module, against http.md 2."""

import attrs
import pytest

from iii_trio.modules.http import CorsConfig, HttpConfig
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
    keys = [*attrs.fields(HttpConfig), *attrs.fields(CorsConfig)]
    assert all(len(key.metadata["doc"]) > 20 for key in keys)


def test_derived_values() -> None:
    assert HttpConfig(default_timeout=1500).timeout == 1.5
    assert HttpConfig(concurrency_request_limit=0).slots == 1  # http 6
    assert HttpConfig(concurrency_request_limit=7).slots == 7
    assert HttpConfig().body_in_memory == HARD_BODY_LIMIT
    assert HttpConfig(body_limit=10).body_in_memory == 10
    assert HttpConfig(body_limit=1 << 40).body_in_memory == HARD_BODY_LIMIT


def test_middleware_is_refused_until_it_is_offered() -> None:
    assert HttpConfig(middleware=()).middleware == ()
    with pytest.raises(ValueError, match="`middleware` is not offered yet"):
        HttpConfig(middleware=({"function_id": "edge::auth"},))
