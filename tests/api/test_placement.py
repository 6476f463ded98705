"""Where RunTask and StartTask put tasks: strategies, constraints and capacity providers over several simulated boxes."""

import os
import pathlib
import shutil
import tempfile
import time
from collections import Counter

import pytest

from conftest import PATIENCE, Hub

CONSTRAINT_LIMIT = 10


@pytest.fixture(scope="module")
def hub():
    """A hub of its own, whatever the other tests ask."""
    binary = os.environ.get("CORACLE_BIN")
    if not binary:
        pytest.skip("CORACLE_BIN does not name the binary under test")
    directory = pathlib.Path(tempfile.mkdtemp(prefix="coracle-api-", dir="/var/tmp"))
    hub = Hub(binary, directory)
    try:
        yield hub
        hub.stop()
    finally:
        if hub.process.poll() is None:
            hub.process.kill()
            hub.process.wait()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def ecs(hub):
    return hub.client()


@pytest.fixture
def box(ecs, cluster):
    """Registers boxes in the cluster of the test."""

    def box(memory=1024, cpu=2048, ports=(), **attributes):
        resources = [
            {"name": "CPU", "type": "INTEGER", "integerValue": cpu},
            {"name": "MEMORY", "type": "INTEGER", "integerValue": memory},
            {"name": "PORTS", "type": "STRINGSET", "stringSetValue": [str(port) for port in ports]},
        ]
        given = [{"name": name.replace("_", "-"), "value": value} for name, value in attributes.items()]
        answer = ecs.register_container_instance(cluster=cluster, totalResources=resources, attributes=given)
        return answer["containerInstance"]["containerInstanceArn"]

    return box


@pytest.fixture
def run(ecs, cluster):
    """RunTask in the cluster of the test: the boxes that the tasks went to, and the failures."""

    def run(definition, operation="run_task", **arguments):
        answer = getattr(ecs, operation)(cluster=cluster, taskDefinition=definition["taskDefinitionArn"], **arguments)
        return [task["containerInstanceArn"] for task in answer["tasks"]], answer["failures"]

    return run


def spread(field):
    return {"type": "spread", "field": field}


def test_without_a_strategy_tasks_spread(box, run, define):
    big, small = box(memory=2048), box(memory=512)
    definition = define(memory=100)
    assert Counter(run(definition, count=4)[0]) == {big: 2, small: 2}
    assert run(definition, group="other")[0] == [big]


def test_spread_over_an_attribute(box, run, define):
    east = [box(**{"ecs.availability-zone": "east"}) for _ in range(3)]
    (west,) = [box(**{"ecs.availability-zone": "west"})]
    strategy = [spread("attribute:ecs.availability-zone"), spread("instanceId")]
    where, failures = run(define(memory=50), count=6, placementStrategy=strategy)
    assert failures == [] and Counter(where) == {west: 3, **{one: 1 for one in east}}


@pytest.mark.parametrize("field", ["memory", "cpu", "MEMORY"])
def test_binpack_fills_one_box_first(box, run, define, field):
    small, big = box(memory=300, cpu=300), box(memory=1024, cpu=1024)
    strategy = [{"type": "binpack", "field": field}]
    where, _ = run(define(memory=100, cpu=100), count=5, placementStrategy=strategy)
    assert where == [small] * 3 + [big] * 2


def test_random_needs_room_only(box, run, define):
    boxes = {box() for _ in range(3)}
    where, failures = run(define(memory=16), count=10, placementStrategy=[{"type": "random"}])
    assert failures == [] and len(where) == 10 and set(where) <= boxes


def test_what_is_no_strategy(ecs, cluster, box, define, refused):
    box()
    definition = define()["taskDefinitionArn"]
    for strategy in [
        [{"type": "random", "field": "memory"}],
        [{"type": "binpack", "field": "disk"}],
        [{"type": "binpack"}],
        [{"type": "spread"}],
        [{"type": "spread", "field": "attribute:"}],
        [{"type": "random"}] * 6,
    ]:
        arguments = {"cluster": cluster, "taskDefinition": definition, "placementStrategy": strategy}
        assert refused("run_task", client=ecs, **arguments)[0] == "InvalidParameterException", strategy


def test_distinct_instance(box, run, define):
    boxes = {box(), box()}
    definition = define()
    where, failures = run(definition, count=3, placementConstraints=[{"type": "distinctInstance"}])
    assert set(where) == boxes
    assert {f["arn"] for f in failures} == boxes
    assert {f["reason"] for f in failures} == {"DistinctInstance placement constraint unsatisfied."}
    where, failures = run(definition, operation="start_task", containerInstances=sorted(boxes))
    assert set(where) == boxes and failures == []


def test_distinct_instance_looks_at_what_is_wanted(ecs, cluster, box, run, define):
    box()
    definition = define(image="coracle/busybox")
    constraint = [{"type": "distinctInstance"}]
    arguments = {"cluster": cluster, "taskDefinition": definition["taskDefinitionArn"], "placementConstraints": constraint}
    (task,) = ecs.run_task(**arguments)["tasks"]
    assert ecs.run_task(**arguments)["tasks"] == []
    ecs.stop_task(cluster=cluster, task=task["taskArn"])
    assert len(ecs.run_task(**arguments)["tasks"]) == 1


def test_member_of(ecs, cluster, box, run, define, refused):
    harbour, airport = box(site="harbour", cores="4"), box(site="airport", cores="16")
    definition = define()

    def where(expression, **more):
        constraint = [{"type": "memberOf", "expression": expression}]
        return run(definition, placementConstraints=constraint, **more)

    assert where("attribute:site == harbour", count=2)[0] == [harbour] * 2
    assert where("attribute:site =~ air.*")[0] == [airport]
    assert where("attribute:site in [harbour, station] and not attribute:cores > 8")[0] == [harbour]
    assert where("attribute:cores >= 8 or attribute:gpu exists")[0] == [airport]
    assert where(f"task:group == family:{definition['family']} && attribute:site != 'harbour'")[0] == [airport]
    assert where("attribute:site == station")[0] == []
    assert {f["reason"] for f in where("attribute:site == station")[1]} == {"MemberOf placement constraint unsatisfied."}
    arguments = {"client": ecs, "cluster": cluster, "taskDefinition": definition["taskDefinitionArn"]}
    bad = [{"type": "memberOf", "expression": "attribute:site is harbour"}]
    assert refused("run_task", placementConstraints=bad, **arguments)[0] == "InvalidParameterException"
    bad = [{"type": "distinctInstance", "expression": "attribute:site exists"}]
    code, message, _ = refused("run_task", placementConstraints=bad, **arguments)
    assert (code, message) == ("InvalidParameterException", "distinctInstance expression should not be specified.")
    many = [{"type": "distinctInstance"}] * (CONSTRAINT_LIMIT + 1)
    assert refused("run_task", placementConstraints=many, **arguments)[0] == "InvalidParameterException"


def test_a_definition_brings_constraints_of_its_own(box, run, define):
    harbour, _ = box(site="harbour"), box(site="airport")
    only = {"placementConstraints": [{"type": "memberOf", "expression": "attribute:site == harbour"}]}
    assert run(define(definition=only), count=3)[0] == [harbour] * 3


def test_a_filter_lists_boxes(ecs, cluster, box):
    harbour, airport = box(site="harbour"), box(site="airport")
    listed = lambda text: ecs.list_container_instances(cluster=cluster, filter=text)["containerInstanceArns"]
    assert listed("attribute:site == harbour") == [harbour]
    assert set(listed("attribute:site exists")) == {harbour, airport}
    assert listed("task:group == family:none") == []
    pages = ecs.get_paginator("list_container_instances")
    found = pages.paginate(cluster=cluster, filter="attribute:site exists", PaginationConfig={"PageSize": 1})
    assert {arn for page in found for arn in page["containerInstanceArns"]} == {harbour, airport}


@pytest.mark.parametrize(
    "needs, reason",
    [
        ({"memory": 600}, "RESOURCE:MEMORY"),
        ({"memory": 16, "cpu": 5000}, "RESOURCE:CPU"),
        ({"memory": 16, "portMappings": [{"containerPort": 22, "hostPort": 22}]}, "RESOURCE:PORTS"),
    ],
)
def test_what_is_missing_is_told_for_each_box(box, run, define, needs, reason):
    boxes = {box(memory=512, ports=[22]), box(memory=256, ports=[22])}
    where, failures = run(define(definition={"networkMode": "bridge"}, **needs))
    assert where == []
    assert {(f["arn"], f["reason"]) for f in failures} == {(arn, reason) for arn in boxes}


def test_part_of_the_tasks_may_find_room(ecs, cluster, box, run, define):
    arn = box(memory=256)
    where, failures = run(define(memory=100), count=5)
    assert (where, [f["reason"] for f in failures]) == ([arn] * 2, ["RESOURCE:MEMORY"])
    (shown,) = ecs.describe_container_instances(cluster=cluster, containerInstances=[arn])["containerInstances"]
    remaining = {resource["name"]: resource for resource in shown["remainingResources"]}
    assert remaining["MEMORY"]["integerValue"] == 56


def test_ports_are_given_once_a_box(box, run, define):
    boxes = {box(), box()}
    definition = define(
        image="coracle/busybox", portMappings=[{"containerPort": 80, "hostPort": 8080}], definition={"networkMode": "bridge"}
    )
    where, failures = run(definition, count=3, placementStrategy=[{"type": "binpack", "field": "memory"}])
    assert set(where) == boxes and {f["reason"] for f in failures} == {"RESOURCE:PORTS"}


def test_capacity_providers_share_by_base_and_weight(ecs, cluster, box, define):
    pool = lambda name: {"coracle.capacity-provider": name}
    east, west = f"east-{cluster}", f"west-{cluster}"
    of_pool = {box(**pool(east)): east, box(**pool(east)): east, box(**pool(west)): west}
    ecs.put_cluster_capacity_providers(
        cluster=cluster,
        capacityProviders=[east, west],
        defaultCapacityProviderStrategy=[{"capacityProvider": west, "weight": 1}],
    )
    definition = define(memory=16)["taskDefinitionArn"]
    strategy = [{"capacityProvider": east, "base": 2, "weight": 1}, {"capacityProvider": west, "weight": 3}]
    tasks = ecs.run_task(
        cluster=cluster, taskDefinition=definition, count=10, capacityProviderStrategy=strategy
    )["tasks"]
    assert Counter(task["capacityProviderName"] for task in tasks) == {east: 4, west: 6}
    assert all(of_pool[task["containerInstanceArn"]] == task["capacityProviderName"] for task in tasks)
    (task,) = ecs.run_task(cluster=cluster, taskDefinition=definition)["tasks"]
    assert task["capacityProviderName"] == west
    (task,) = ecs.run_task(cluster=cluster, taskDefinition=definition, launchType="EC2")["tasks"]
    assert "capacityProviderName" not in task


def test_capacity_provider_strategies_that_cannot_be(ecs, cluster, box, define, refused):
    pool = f"pool-{cluster}"
    definition = define()["taskDefinitionArn"]
    box(**{"coracle.capacity-provider": pool})

    def run(*strategy, **more):
        arguments = {"cluster": cluster, "taskDefinition": definition, "capacityProviderStrategy": list(strategy)}
        return refused("run_task", client=ecs, **arguments, **more)[0]

    invalid = "InvalidParameterException"
    assert run({"capacityProvider": pool}) == invalid, "it is not associated with the cluster"
    ecs.put_cluster_capacity_providers(cluster=cluster, capacityProviders=[pool], defaultCapacityProviderStrategy=[])
    assert run({"capacityProvider": "FARGATE"}) == invalid
    assert run({"capacityProvider": pool, "weight": 1001}) == invalid
    assert run({"capacityProvider": pool}, launchType="EC2") == invalid


def test_draining_boxes_get_nothing(ecs, cluster, box, run, define, refused):
    first, second = box(), box()
    definition = define()
    ecs.update_container_instances_state(cluster=cluster, containerInstances=[first], status="DRAINING")
    assert set(run(definition, count=4)[0]) == {second}
    _, failures = run(definition, operation="start_task", containerInstances=[first])
    assert [(f["arn"], f["reason"]) for f in failures] == [(first, "INACTIVE")]
    ecs.update_container_instances_state(cluster=cluster, containerInstances=[second], status="DRAINING")
    arguments = {"cluster": cluster, "taskDefinition": definition["taskDefinitionArn"]}
    code, message, _ = refused("run_task", client=ecs, **arguments)
    assert (code, message) == ("InvalidParameterException", "No Container Instances were found in your cluster.")


def test_a_box_that_tells_what_it_can_is_taken_at_its_word(box, run, define):
    old = box(**{"com.amazonaws.ecs.capability.docker-remote-api.1.17": ""})
    definition = define(privileged=True)
    assert {"com.amazonaws.ecs.capability.privileged-container"} <= {
        attribute["name"] for attribute in definition["requiresAttributes"]
    }
    where, failures = run(definition)
    assert (where, [(f["arn"], f["reason"]) for f in failures]) == ([], [(old, "ATTRIBUTE")])
    any_ = box()
    assert run(definition)[0] == [any_]


def test_services_that_wait_for_one_port_do_not_both_get_it(ecs, cluster, box, define):
    definition = define(
        image="coracle/busybox", portMappings=[{"containerPort": 80, "hostPort": 8080}], definition={"networkMode": "bridge"}
    )["taskDefinitionArn"]
    names = ["first", "second"]
    for name in names:
        ecs.create_service(cluster=cluster, serviceName=name, taskDefinition=definition, desiredCount=1)
    box()  # Both are looked at again, in one plan.
    ended = time.monotonic() + PATIENCE
    while True:
        services = ecs.describe_services(cluster=cluster, services=names)["services"]
        if any(service["runningCount"] for service in services):
            break
        assert time.monotonic() < ended, services
        time.sleep(0.05)
    assert sorted((s["runningCount"], s["pendingCount"]) for s in services) == [(0, 0), (1, 0)]
