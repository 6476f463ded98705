"""Each error that the model gives an operation comes when it is provoked, or is known never to come."""

import itertools

import pytest

import errors
import inputs
from conftest import wait
from test_unavailable import EMPTY, NOT_FOUND, THERE

_numbers = itertools.count(1)


class World:
    """What provoking requests build on, made when it is first asked for."""

    box_cluster = "default"

    def __init__(self, agent, image):
        self.agent = agent
        self._image = image
        self._definitions = {}
        # Calls that take back what provoking requests left.
        self.undo = []

    def name(self):
        return f"conform-{next(_numbers)}"

    def ok(self, operation, body):
        status, _, content = self.agent.call(operation, body)
        assert status == 200, f"{operation} {body}: {content}"
        return content

    def _define(self, kind, **members):
        if kind not in self._definitions:
            container = {"name": "main", "image": "coracle/hello", "memory": 16, "essential": True}
            body = {"family": f"conform-{kind}", "containerDefinitions": [container], **members}
            self._definitions[kind] = self.ok("RegisterTaskDefinition", body)["taskDefinition"]["taskDefinitionArn"]
        return self._definitions[kind]

    @property
    def definition(self):
        return self._define("plain", networkMode="none")

    @property
    def serverless(self):
        fargate = {"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256", "memory": "512"}
        return self._define("serverless", **fargate)

    @property
    def sleeper(self):
        container = {"name": "main", "image": self._image, "memory": 16, "stopTimeout": 2, "command": ["sleep", "600"]}
        return self._define("sleeper", networkMode="none", containerDefinitions=[container])

    def box(self):
        return self.ok("ListContainerInstances", {"cluster": self.box_cluster})["containerInstanceArns"][0]

    def quiet(self):
        """Waits until no task is left in the cluster of the box."""
        for arn in self.ok("ListTasks", {"cluster": self.box_cluster})["taskArns"]:
            self.ok("StopTask", {"cluster": self.box_cluster, "task": arn})
        stopping = self.ok("ListTasks", {"cluster": self.box_cluster, "desiredStatus": "STOPPED"})["taskArns"]
        for i in range(0, len(stopping), 100):
            wait(self.agent.client(), "stopped", stopping[i:i + 100], cluster=self.box_cluster)


@pytest.fixture(scope="module")
def world(agent, busybox):
    world = World(agent, busybox)
    yield world
    world.quiet()
    for operation, body in reversed(world.undo):
        world.ok(operation, body)


def right(operation, world):
    """An input that is right, but may name what is not there."""
    body = errors.RIGHT.get(operation) or inputs.smallest(inputs.model(operation).input_shape)
    return body(world) if callable(body) else body


def provocation(operation, error, world):
    """The body that must lead to this error, or None."""
    shape = inputs.model(operation).input_shape
    if operation in THERE:
        body = errors.PROVOKED.get(operation, {}).get(error)
        if body is not None:
            return body(world) if callable(body) else body
    if error == "InvalidParameterException":
        if shape.required_members and operation != "RegisterTaskDefinition":
            return inputs.without(inputs.smallest(shape), (shape.required_members[0],))
        if operation in errors.INVALID and operation in THERE:
            return errors.INVALID[operation]
        if operation == "RegisterTaskDefinition":
            tag = {"key": "aws:mine", "value": ""}
            return {"family": "f", "containerDefinitions": [{"name": "a", "image": "b", "memory": 8}], "tags": [tag]}
        if "cluster" in shape.members and (operation in THERE or operation in EMPTY):
            return {**right(operation, world), "cluster": "not a name"}
        if "nextToken" in shape.members and operation in EMPTY:
            return errors.TOKEN
        # The operation is not there and needs nothing: a wrong value will do.
        return next((body for body, _ in inputs.out_of_range(operation)), None)
    if error == "ClusterNotFoundException" and "cluster" in shape.members:
        if operation in THERE or operation in EMPTY or NOT_FOUND.get(operation) == "ServiceNotFoundException":
            return {**right(operation, world), "cluster": "nowhere"}
    if operation in NOT_FOUND:
        return right(operation, world) if NOT_FOUND[operation] == error else None
    if operation not in THERE and operation not in EMPTY and operation != "DescribeServices":
        modelled = "UnsupportedFeatureException" in inputs.errors(operation)
        if error == ("UnsupportedFeatureException" if modelled else "ClientException"):
            return right(operation, world)
    return None


def reason(operation, error):
    """Why no request leads to this error, or None."""
    if operation not in THERE and error not in ("AccessDeniedException", "ServerException"):
        # DescribeServices among them: that there are none is its true answer.
        return "the operation is not there, and says so before it looks at what is named"
    return errors.UNREACHABLE.get((operation, error)) or errors.UNREACHABLE.get(error)


PAIRS = [(operation, error) for operation in inputs.OPERATIONS for error in sorted(inputs.errors(operation))]


@pytest.mark.parametrize("operation", inputs.OPERATIONS)
def test_each_error_is_provoked_or_unreachable(agent, world, operation):
    for error in sorted(inputs.errors(operation)):
        body = provocation(operation, error, world)
        if body is None:
            assert reason(operation, error), f"nothing says how {operation} comes to {error}, or why it cannot"
            continue
        status, headers, content = agent.call(operation, body)
        assert (content.get("__type"), status) == (error, 400), f"{operation} {body}: {content}"
        assert headers["x-amzn-errortype"] == error
        assert content["message"]


def test_nothing_is_listed_that_the_model_does_not_have():
    listed = [(operation, error) for operation, errors_ in errors.PROVOKED.items() for error in errors_]
    listed += [pair for pair in errors.UNREACHABLE if isinstance(pair, tuple)]
    assert [pair for pair in listed if pair not in PAIRS] == []
    both = [pair for pair in errors.UNREACHABLE if isinstance(pair, tuple) and pair[1] in errors.PROVOKED.get(pair[0], {})]
    assert both == []


def test_what_may_differ_from_error_to_error():
    """ConflictException alone has a member beside its message."""
    more = {e.name: set(e.members) - {"message"} for o in inputs.OPERATIONS for e in inputs.model(o).error_shapes}
    assert {name: members for name, members in more.items() if members} == {"ConflictException": {"resourceIds"}}
