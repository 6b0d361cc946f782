"""Every reference to a channel in a payload becomes a live end, wherever it is, and nothing else does (wire-protocol 10.1)."""

from typing import Any, cast

from hypothesis import example, given, settings
from hypothesis import strategies as st

from iii_trio.protocol import Json, Payload
from iii_trio.worker._channels import ChannelReader, ChannelWriter, Ends, live_value

KINDS = {"read": ChannelReader, "write": ChannelWriter}
REFS = st.fixed_dictionaries(
    {
        "access_key": st.just("k") | st.none(),
        "channel_id": st.sampled_from(["a", "b", 1]),
        "direction": st.sampled_from(["read", "write", "both", None, [], {}]),
    },
    optional={"inner": st.just({"access_key": "k", "channel_id": "c", "direction": "read"})},
)
LEAVES = st.none() | st.integers(0, 3) | st.sampled_from(["", "access_key", '"access_key"']) | REFS
KEYS = st.sampled_from(["body", "access_key", "response", "x"])
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4))


NO_ENDS = cast("Ends", None)
"""Nobody opens one here."""


def expected(value: Json) -> Any:
    """The same, one after the other and without haste: an end as its kind and what it refers to."""
    if isinstance(value, dict):
        if isinstance(value.get("access_key"), str) and isinstance(value.get("channel_id"), str):
            direction = value.get("direction")
            if isinstance(direction, str) and direction in KINDS:
                return KINDS[direction], value
        return {key: expected(item) for key, item in value.items()}
    return [expected(item) for item in value] if isinstance(value, list) else value


def found(value: Any) -> Any:
    if isinstance(value, (ChannelReader, ChannelWriter)):
        return type(value), value.ref
    if isinstance(value, dict):
        return {key: found(item) for key, item in value.items()}
    return [found(item) for item in value] if isinstance(value, list) else value


@given(VALUES)
@example({"access_key": "k", "channel_id": "a", "direction": "read"})
@example([{"access_key": "k", "channel_id": "a", "direction": "write"}])
@example({"first": {"access_key": "k", "channel_id": "a", "direction": "read"}, "text": '"access_key"'})
@example("access_key")
@settings(max_examples=300, deadline=None)
def test_every_reference_is_live_and_nothing_else(value: Json) -> None:
    assert found(live_value(Payload.of(value), NO_ENDS)) == expected(Payload.of(value).value)
