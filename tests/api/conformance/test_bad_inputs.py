"""Inputs that the model forbids, made from it for every operation: each is refused with an error that the operation
has, and leaves everything as it was."""

import json

import pytest

import inputs
import state



@pytest.fixture(scope="module")
def before(agent):
    return state.of(agent)


@pytest.fixture(autouse=True)
def nothing_changes(agent, before):
    yield
    assert state.of(agent) == before


def refused(agent, operation, body, expected=None):
    """The error of this call, which must be one of the operation's or one of any operation's."""
    status, headers, content = agent.call(operation, body)
    shown = f"{operation} {json.dumps(body)[:2000]} -> {status} {str(content)[:1000]}"
    assert 400 <= status < 500, shown
    exception = content["__type"]
    assert headers["x-amzn-errortype"] == exception, shown
    assert exception in inputs.errors(operation) | {"SerializationException"}, shown
    assert content["message"] and len(content["message"]) < 4096, shown
    assert expected is None or exception == expected, shown
    return content


@pytest.mark.parametrize("operation", inputs.OPERATIONS)
def test_another_json_type(agent, operation):
    for body, where in inputs.wrong_types(operation):
        error = refused(agent, operation, body, "SerializationException")
        assert error["message"].endswith(f": {where}"), (where, error)


@pytest.mark.parametrize("operation", inputs.OPERATIONS)
def test_values_out_of_range(agent, operation):
    # The rules of a task definition are worded as ECS words them, by a ClientException.
    expected = None if operation == "RegisterTaskDefinition" else "InvalidParameterException"
    for body, _ in inputs.out_of_range(operation):
        refused(agent, operation, body, expected)


@pytest.mark.parametrize("operation", inputs.OPERATIONS)
def test_required_members_left_out(agent, operation):
    expected = None if operation == "RegisterTaskDefinition" else "InvalidParameterException"
    for body, _ in inputs.incomplete(operation):
        refused(agent, operation, body, expected)


@pytest.mark.parametrize("operation", inputs.OPERATIONS)
def test_far_too_long(agent, operation):
    for body, _ in inputs.too_long(operation):
        status, _, content = agent.call(operation, body)
        if status == 200:
            # What is described by name may as well be missing.
            failures = content.pop("failures")
            assert failures and not any(content.values()), content
            assert len(json.dumps(failures)) < 4096
        else:
            refused(agent, operation, body)
