"""Attributes of container instances."""

import pytest

INVALID = "InvalidParameterException"


@pytest.fixture
def box(ecs):
    """The ARN of the box; what a test puts on it goes with the test."""
    (arn,) = ecs.list_container_instances()["containerInstanceArns"]
    before = listed(ecs)
    yield arn
    added = [a for a in listed(ecs) if a not in before]
    for attribute in added:
        ecs.delete_attributes(attributes=[{"name": attribute["name"], "targetId": arn}])
    assert listed(ecs) == before


def listed(ecs, **arguments):
    pages = ecs.get_paginator("list_attributes").paginate(targetType="container-instance", **arguments)
    return [attribute for page in pages for attribute in page["attributes"]]


def test_put_list_and_delete(ecs, box):
    attributes = [{"name": "rack", "value": "a1", "targetId": box}, {"name": "ssd", "targetId": box}]
    put = ecs.put_attributes(attributes=attributes)["attributes"]
    assert [(a["name"], a.get("value"), a["targetId"]) for a in put] == [("rack", "a1", box), ("ssd", None, box)]
    (rack,) = listed(ecs, attributeName="rack")
    assert (rack["value"], rack["targetId"], rack["targetType"]) == ("a1", box, "container-instance")
    assert listed(ecs, attributeName="rack", attributeValue="b2") == []
    (described,) = ecs.describe_container_instances(containerInstances=[box])["containerInstances"]
    assert {"name": "rack", "value": "a1"} in described["attributes"]
    assert {"name": "ssd"} in described["attributes"]
    short = {"targetType": "container-instance", "targetId": box.rsplit("/", 1)[1]}
    ecs.put_attributes(attributes=[{"name": "rack", "value": "b2", **short}])
    assert [a["value"] for a in listed(ecs, attributeName="rack")] == ["b2"]
    deleted = ecs.delete_attributes(attributes=[{"name": "rack", **short}])["attributes"]
    assert [a["name"] for a in deleted] == ["rack"]
    assert listed(ecs, attributeName="rack") == []


def test_pages_are_the_whole_list(ecs, box):
    ecs.put_attributes(attributes=[{"name": f"n{i}", "targetId": box} for i in range(10)])
    small = listed(ecs, PaginationConfig={"PageSize": 3})
    assert small == listed(ecs)
    assert {f"n{i}" for i in range(10)} <= {a["name"] for a in small}


def test_a_task_can_ask_for_an_attribute_that_was_put(ecs, box, define, wait_for, refused):
    definition = define()["taskDefinitionArn"]
    constraint = [{"type": "memberOf", "expression": "attribute:test-place == dock"}]
    answer = ecs.run_task(taskDefinition=definition, placementConstraints=constraint)
    assert answer["tasks"] == []
    assert [f["reason"] for f in answer["failures"]] == ["MemberOf placement constraint unsatisfied."]
    ecs.put_attributes(attributes=[{"name": "test-place", "value": "dock", "targetId": box}])
    (task,) = ecs.run_task(taskDefinition=definition, placementConstraints=constraint)["tasks"]
    wait_for("stopped", [task["taskArn"]])


def test_what_is_refused(ecs, box, cluster, refused):
    put = lambda **attribute: refused("put_attributes", attributes=[{"targetId": box, **attribute}])
    assert put(name="a b")[0] == INVALID
    assert put(name="n" * 129)[0] == INVALID
    assert put(name="a", value=" x")[0] == INVALID
    assert put(name="a", value="v" * 129)[0] == INVALID
    code, message, _ = put(name="ecs.os-type", value="plan9")
    assert code == INVALID and "ecs.os-type" in message
    assert refused("put_attributes", attributes=[{"name": "a"}])[0] == INVALID
    short = box.rsplit("/", 1)[1]
    assert refused("put_attributes", attributes=[{"name": "a", "targetId": short}])[0] == INVALID
    nobody = {"name": "a", "targetType": "container-instance", "targetId": "0" * 32}
    told = refused("put_attributes", attributes=[nobody])
    assert (told[0], told[2]) == ("TargetNotFoundException", 400)
    assert refused("delete_attributes", attributes=[nobody])[0] == "TargetNotFoundException"
    assert refused("put_attributes", cluster=cluster, attributes=[{"name": "a", "targetId": box}])[0] == "TargetNotFoundException"
    assert refused("put_attributes", cluster="nowhere", attributes=[nobody])[0] == "ClusterNotFoundException"
    eleven = [{"name": f"n{i}", "targetId": box} for i in range(11)]
    assert refused("put_attributes", attributes=eleven)[0] == INVALID
    ecs.put_attributes(attributes=eleven[:10])
    assert refused("put_attributes", attributes=eleven[10:])[0] == "AttributeLimitExceededException"
    assert refused("list_attributes", targetType="container-instance", attributeValue="x")[0] == INVALID
    assert refused("list_attributes", targetType="container-instance", cluster="nowhere")[0] == "ClusterNotFoundException"


def test_the_cli(agent, box):
    agent.aws("put-attributes", "--attributes", f"name=stack,value=production,targetId={box}")
    answer = agent.aws("list-attributes", "--target-type", "container-instance", "--attribute-name", "stack")
    assert [(a["value"], a["targetId"]) for a in answer["attributes"]] == [("production", box)]
