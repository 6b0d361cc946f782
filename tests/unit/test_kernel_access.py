"""The decision of access control by itself: patterns, rules, and their order (wire-protocol 11.2, 11.5)."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from iii_trio.kernel import Function, MetadataRule, ModuleOwner, PatternRule, Policy, Session
from iii_trio.kernel.access import ASKS_SESSION, INFRASTRUCTURE, is_same
from iii_trio.protocol import Payload, encode_json
from iii_trio.protocol.access import AuthResult
from iii_trio.protocol.errors import Forbidden
from iii_trio.protocol.patterns import compile_pattern, match_argument

TEXTS = st.text(alphabet="ab:*.\n(", max_size=12)
OWNER = ModuleOwner("owner", "owner")


def session(policy: Policy, **said: Any) -> Session:
    return Session.of(policy, "id", "10.0.0.1", AuthResult(**said))


def function(function_id: str, metadata: str | None = None, namespace: str = "default") -> Function:
    kept = Payload(Raw(metadata.encode())) if metadata is not None else None
    return Function(function_id, OWNER, namespace, metadata=kept)


def verdict(who: Session, function_id: str, namespace: str = "default", metadata: str | None = None) -> str:
    refusal = who.refusal(namespace, function_id, function(function_id, metadata, namespace))
    if refusal is None:
        return "allow"
    assert isinstance(refusal, Forbidden)
    assert function_id in refusal.message
    return "forbidden" if "rbac.forbidden_functions" in refusal.message else "not exposed"


# --- patterns ---------------------------------------------------------------------------------------------------------


@given(TEXTS, TEXTS)
def test_a_pattern_is_what_a_regular_expression_of_its_parts_is(pattern: str, text: str) -> None:
    # wire 78
    reference = re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
    assert compile_pattern(pattern)(text) == bool(reference.fullmatch(text))


@given(st.lists(TEXTS, max_size=5), st.lists(TEXTS, min_size=6, max_size=6))
def test_a_pattern_covers_what_it_was_made_of(parts: list[str], between: list[str]) -> None:
    # wire 78
    parts = [part.replace("*", "") for part in parts] or [""]
    filled = "".join(part + gap for part, gap in zip(parts, between, strict=False)).removesuffix(
        between[len(parts) - 1]
    )
    assert compile_pattern("*".join(parts))(filled)


def test_a_hostile_pattern_costs_no_more_than_a_harmless_one() -> None:
    assert not compile_pattern("a*" * 2_000 + "b")("a" * 100_000)


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ('match("a::*")', "a::*"),
        ("match('a::*')", "a::*"),
        ('match("")', ""),
        ('match("it\'s")', "it's"),
        *((text, None) for text in ("a::*", "match(a)", "match(\"a')", 'match("a") ', ' match("a")', 'match("a"b")')),
        *((text, None) for text in ("Match('a')", 'match( "a")', 'match["a"]', "match()", "")),
    ],
)
def test_what_is_written_as_a_pattern(text: str, pattern: str | None) -> None:
    assert match_argument(text) == pattern


# --- metadata ---------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([1.0, 3.0, 0.5]) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=1), inner, max_size=3),
    max_leaves=6,
)


@given(JSON, JSON)
def test_values_are_the_same_if_they_are_written_the_same(left: Any, right: Any) -> None:
    # wire 78
    import json

    assert is_same(left, right) == (json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True))


@pytest.mark.parametrize(
    ("wanted", "metadata", "expected"),
    [
        ({"public": True}, '{"public":true}', "allow"),
        ({"public": True}, '{"public":true,"more":1}', "allow"),
        ({"public": True}, '{"public":"true"}', "not exposed"),
        ({"public": True}, '{"public":1}', "not exposed"),
        ({"public": True, "tier": 'match("*basic*")'}, '{"public":true,"tier":"a basic b"}', "allow"),
        ({"public": True, "tier": 'match("*basic*")'}, '{"public":true}', "not exposed"),
        ({"tier": "match('*')"}, '{"tier":5}', "not exposed"),
        ({"tier": "match('*')"}, '{"tier":null}', "not exposed"),
        ({"tier": "basic*"}, '{"tier":"basic*"}', "allow"),
        ({"tier": "basic*"}, '{"tier":"basics"}', "not exposed"),
        ({"level": 3}, '{"level":3}', "allow"),
        ({"level": 3}, '{"level":3.0}', "not exposed"),
        ({"level": 3.0}, '{"level":3}', "not exposed"),
        ({"level": 3.0}, '{"level":3.0}', "allow"),
        ({"gone": None}, '{"gone":null}', "allow"),
        ({"gone": None}, "{}", "not exposed"),
        ({"deep": {"a": [1, 'match("*")']}}, '{"deep":{"a":[1,"x"]}}', "not exposed"),
        ({"deep": {"a": [1, {}]}}, '{"deep":{"a":[1,{}]}}', "allow"),
        ({"a": 1}, None, "not exposed"),
        ({"a": 1}, "[1]", "not exposed"),
        ({"a": 1}, '"a"', "not exposed"),
        ({}, "{}", "not exposed"),  # the settings refuse it; here it must not open everything either
    ],
)
def test_a_rule_by_metadata(wanted: dict[str, Any], metadata: str | None, expected: str) -> None:
    # wire 78
    who = session(Policy((MetadataRule(wanted),)))
    assert verdict(who, "shop::x", metadata=metadata) == expected


# --- the order --------------------------------------------------------------------------------------------------------


def test_forbidden_beats_everything() -> None:
    # wire 79
    everything = ("shop::x", *INFRASTRUCTURE)
    who = session(
        Policy((PatternRule("*"),)),
        allowed_functions=everything,
        forbidden_functions=everything,
        namespaces={"default": ("*",), "a": ("*",)},
    )
    assert {verdict(who, name, space) for name in everything for space in ("default", "a")} == {"forbidden"}
    assert verdict(who, "shop::y") == "allow"


def test_grants_count_in_their_namespace_only() -> None:
    # wire 110
    who = session(Policy((PatternRule("open::*"),)), namespaces={"a": ("x::*", "exact", 'match("y::*")'), "b": ()})
    for name in ("x::1", "x::", "exact", "y::z"):
        assert verdict(who, name, "a") == "allow"
        assert verdict(who, name, "b") == verdict(who, name) == "not exposed"
    for name in ("exactly", "y:", "open::1", 'match("y::*")'):
        assert verdict(who, name, "a") == "not exposed"
    assert verdict(who, "open::1") == "allow"


def test_what_is_allowed_by_id_is_so_in_default_only() -> None:
    # wire 79
    who = session(Policy(()), allowed_functions=("shop::x", "a*"))
    assert verdict(who, "shop::x") == "allow"
    assert verdict(who, "shop::x", "a") == "not exposed"
    assert verdict(who, "ab") == "not exposed"  # ids here, never patterns


@pytest.mark.parametrize("name", sorted(INFRASTRUCTURE))
def test_infrastructure_is_open_in_every_namespace(name: str) -> None:
    # wire 77
    assert verdict(session(Policy(())), name) == verdict(session(Policy(())), name, "a") == "allow"


def test_nothing_exposed_is_nothing_but_infrastructure() -> None:
    # wire 77
    who = session(Policy(()))
    assert verdict(who, "shop::x", metadata='{"public":true}') == "not exposed"
    for name in ASKS_SESSION - INFRASTRUCTURE:
        assert verdict(who, name) == "not exposed"


def test_without_rbac_only_the_lists_of_the_session_count() -> None:
    assert verdict(session(Policy(middleware_function_id="m")), "shop::x", "a") == "allow"


def test_a_rule_holds_in_its_namespace_only() -> None:
    # wire 110
    who = session(Policy((PatternRule("o::*", "orders"), MetadataRule({"p": 1}, "orders"), PatternRule("d::*"))))
    assert verdict(who, "o::x", "orders") == verdict(who, "z", "orders", '{"p":1}') == verdict(who, "d::x") == "allow"
    assert verdict(who, "o::x") == verdict(who, "z", metadata='{"p":1}') == verdict(who, "d::x", "orders")
    assert verdict(who, "d::x", "orders") == "not exposed"


# --- what is remembered -----------------------------------------------------------------------------------------------


def test_a_decision_is_taken_anew_when_the_registration_changes() -> None:
    who = session(Policy((MetadataRule({"public": True}),)))
    hidden, shown = function("shop::x", '{"public":false}'), function("shop::x", '{"public":true}')
    for known, allowed in (
        (hidden, False),
        (hidden, False),
        (shown, True),
        (shown, True),
        (None, False),
        (shown, True),
    ):
        assert (who.refusal("default", "shop::x", known) is None) == allowed
    assert not who.sees(hidden)
    assert who.sees(shown)


def test_a_caller_cannot_make_the_session_grow() -> None:
    who = session(Policy(()))
    for number in range(10_000):
        assert who.refusal("default", f"guess::{number}", None) is not None
    assert len(who._verdicts) <= 4_096


# --- homes and ids ----------------------------------------------------------------------------------------------------


def test_a_session_with_namespaces_lives_in_those() -> None:
    # wire 110
    who = session(Policy(()), namespaces={"a": (), "b": ()})
    who.check_home("a")
    with pytest.raises(Forbidden, match="'default' not allowed for this session \\(permitted: a, b\\)"):
        who.check_home("default")
    assert all(session(Policy(())).may_live_in(name) for name in ("default", "anything"))


def test_stored_and_own_ids() -> None:
    # wire 83
    plain, prefixed = session(Policy(())), session(Policy(()), function_registration_prefix="p")
    assert (plain.stored_id("x"), plain.own_id("x")) == ("x", "x")
    assert (prefixed.stored_id("x"), prefixed.own_id("p::x")) == ("p::x", "x")
    assert (prefixed.stored_id("p::x"), prefixed.own_id("p::p::x")) == ("p::p::x", "p::x")
    assert session(Policy(()), function_registration_prefix="").stored_id("x") == "::x"


def test_a_session_keeps_nothing_of_the_answer_but_its_context() -> None:
    who = session(Policy(()), context=Raw(encode_json({"user": "u1"})))
    assert bytes(who.context) == b'{"user":"u1"}'
    assert "u1" not in repr(who)
