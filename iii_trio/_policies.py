"""From the settings of worker listeners to what their gates go by."""

from collections.abc import Iterator, Sequence

import attrs

from .kernel import DEFAULT_NAMESPACE, MetadataRule, PatternRule, Policy, Rule
from .protocol.patterns import match_argument
from .settings import WorkerListenerConfig
from .settings.model import FunctionFilter


def make_policies(listeners: Sequence[WorkerListenerConfig]) -> tuple[Policy | None, ...]:
    """The policy of each listener, None where the configuration asks for none. Each knows who guards any of them."""
    policies = [_policy(listener) for listener in listeners]
    gatekeepers = frozenset(name for policy in policies if policy is not None for name in _asked_by(policy))
    return tuple(policy and attrs.evolve(policy, gatekeepers=gatekeepers) for policy in policies)


def _policy(listener: WorkerListenerConfig) -> Policy | None:
    rbac, middleware = listener.rbac, listener.middleware_function_id
    if rbac is None:
        return None if middleware is None else Policy(middleware_function_id=middleware)
    return Policy(
        tuple(map(_rule, rbac.expose_functions)),
        rbac.auth_function_id,
        rbac.on_function_registration_function_id,
        rbac.on_trigger_registration_function_id,
        rbac.on_trigger_type_registration_function_id,
        middleware,
    )


def _rule(entry: FunctionFilter) -> Rule:
    namespace = DEFAULT_NAMESPACE if entry.namespace is None else entry.namespace
    if entry.metadata is not None:
        return MetadataRule(entry.metadata, namespace)
    assert entry.match is not None  # one of the two is there
    inner = match_argument(entry.match)
    return PatternRule(entry.match if inner is None else inner, namespace)


def _asked_by(policy: Policy) -> Iterator[str]:
    asked = (policy.auth_function_id, policy.on_function, policy.on_trigger, policy.on_trigger_type)
    yield from filter(None, (*asked, policy.middleware_function_id))
