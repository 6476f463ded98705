"""The box as a container instance."""

import contextlib
import os

import pytest

from conftest import ROOT, Agent, wait


@contextlib.contextmanager
def own_agent(directory):
    """An agent that a test may take out of its cluster."""
    binary = os.environ.get("CORACLE_BIN")
    if not binary or os.geteuid() != 0:
        pytest.skip("CORACLE_BIN names no binary, or this is not root")
    (directory / "notify").unlink(missing_ok=True)
    agent = Agent(binary, directory)
    try:
        yield agent
    finally:
        if agent.process.poll() is None:
            agent.process.kill()
            agent.process.wait()


def test_this_box(ecs):
    (arn,) = ecs.list_container_instances()["containerInstanceArns"]
    (box,) = ecs.describe_container_instances(
        containerInstances=[arn], include=["TAGS", "CONTAINER_INSTANCE_HEALTH"]
    )["containerInstances"]
    assert box["containerInstanceArn"] == arn
    assert (box["status"], box["agentConnected"]) == ("ACTIVE", True)
    registered = {r["name"]: r for r in box["registeredResources"]}
    assert set(registered) == {"CPU", "MEMORY", "PORTS", "PORTS_UDP"}
    assert registered["CPU"]["integerValue"] % 1024 == 0 and registered["CPU"]["integerValue"] > 0
    assert registered["MEMORY"]["integerValue"] > 0
    assert "22" in registered["PORTS"]["stringSetValue"]
    assert {"ecs.os-type", "ecs.cpu-architecture"} <= {a["name"] for a in box["attributes"]}
    assert box["versionInfo"]["agentVersion"] and box["tags"] == []
    assert box["healthStatus"]["overallStatus"] == "OK"


def test_status_filters(ecs, cluster):
    (arn,) = ecs.list_container_instances(status="ACTIVE")["containerInstanceArns"]
    assert ecs.list_container_instances(status="DRAINING")["containerInstanceArns"] == []
    assert ecs.list_container_instances(cluster=cluster)["containerInstanceArns"] == []


def test_what_is_missing(ecs, cluster, refused):
    (arn,) = ecs.list_container_instances()["containerInstanceArns"]
    answer = ecs.describe_container_instances(containerInstances=["0" * 32])
    assert [f["reason"] for f in answer["failures"]] == ["MISSING"]
    answer = ecs.describe_container_instances(cluster=cluster, containerInstances=[arn])
    assert [f["reason"] for f in answer["failures"]] == ["MISSING"]
    assert refused("describe_container_instances", containerInstances=["x"])[0] == "InvalidParameterException"
    assert refused("describe_container_instances", containerInstances=[])[1] == "Container instance cannot be empty."
    assert refused("list_container_instances", cluster="nowhere")[0] == "ClusterNotFoundException"
    for bad in ["attribute:x", "x == y", "attribute:x == y and", "agentVersion =~ 1.*", "(" * 100]:
        code, message, _ = refused("list_container_instances", filter=bad)
        assert code == "InvalidParameterException" and message.startswith("Invalid filter "), message


def test_the_query_language_filters(ecs, agent):
    (arn,) = ecs.list_container_instances()["containerInstanceArns"]
    listed = lambda text: ecs.list_container_instances(filter=text)["containerInstanceArns"]
    for yes in [
        "agentConnected == true",
        "agentVersion >= 0.0.1 and registeredAt > 2020-01-01",
        "runningTasksCount >= 0",
        "not attribute:no-such-thing exists",
        "registeredAt >= 2020-01-01T00:00:00Z || ec2InstanceId == i-1",
    ]:
        assert listed(yes) == [arn], yes
    for no in ["agentConnected == false", "attribute:no-such-thing =~ .*", "runningTasksCount > 1000"]:
        assert listed(no) == [], no
    asked = agent.aws("list-container-instances", "--filter", "agentConnected==true", "--status", "ACTIVE")
    assert asked["containerInstanceArns"] == [arn]


def test_a_box_drains_and_comes_back(ecs, define, refused):
    (arn,) = ecs.list_container_instances()["containerInstanceArns"]
    nobody = "0" * 32
    update = lambda status: ecs.update_container_instances_state(containerInstances=[arn, nobody], status=status)
    try:
        answer = update("DRAINING")
        assert [(i["containerInstanceArn"], i["status"]) for i in answer["containerInstances"]] == [(arn, "DRAINING")]
        assert [f["reason"] for f in answer["failures"]] == ["MISSING"]
        assert ecs.list_container_instances(status="DRAINING")["containerInstanceArns"] == [arn]
        assert ecs.list_container_instances(status="ACTIVE")["containerInstanceArns"] == []
        code, message, _ = refused("run_task", taskDefinition=define()["taskDefinitionArn"])
        assert (code, message) == ("InvalidParameterException", "No Container Instances were found in your cluster.")
    finally:
        update("ACTIVE")
    assert ecs.list_container_instances(status="DRAINING")["containerInstanceArns"] == []
    told = refused("update_container_instances_state", containerInstances=[arn], status="REGISTERING")
    assert told[0] == "InvalidParameterException"
    many = [f"{i:032}" for i in range(11)]
    told = refused("update_container_instances_state", containerInstances=many, status="ACTIVE")
    assert told[0] == "InvalidParameterException"
    for status in ("REGISTERING", "DEREGISTERING", "REGISTRATION_FAILED"):
        assert ecs.list_container_instances(status=status)["containerInstanceArns"] == []


@pytest.mark.box
def test_a_box_is_registered_by_its_own_agent_alone(refused):
    code, message, status = refused("register_container_instance")
    assert (code, status) == ("ClientException", 400) and "RegisterContainerInstance" in message


def test_there_is_no_update_of_an_agent(ecs, refused):
    (arn,) = ecs.list_container_instances()["containerInstanceArns"]
    assert refused("update_container_agent", containerInstance=arn)[0] == "NoUpdateAvailableException"
    assert refused("update_container_agent", containerInstance="0" * 32)[0] == "InvalidParameterException"


@pytest.mark.box
def test_a_box_that_is_deregistered_stays_away_until_its_agent_restarts(tmp_path):
    with own_agent(tmp_path) as agent:
        ecs = agent.client()
        agent.cli("image", "build", str(ROOT / "images" / "busybox"))
        container = {"name": "main", "image": "coracle/busybox", "memory": 16, "command": ["sleep", "600"], "stopTimeout": 2}
        ecs.register_task_definition(family="sleeper", networkMode="none", containerDefinitions=[container])
        (task,) = ecs.run_task(taskDefinition="sleeper")["tasks"]
        (arn,) = ecs.list_container_instances()["containerInstanceArns"]
        with pytest.raises(ecs.exceptions.InvalidParameterException, match="Found running tasks on the instance."):
            ecs.deregister_container_instance(containerInstance=arn)
        with pytest.raises(ecs.exceptions.ClusterContainsTasksException):
            ecs.delete_cluster(cluster="default")
        gone = ecs.deregister_container_instance(containerInstance=arn, force=True)["containerInstance"]
        assert (gone["status"], gone["agentConnected"]) == ("INACTIVE", False)
        (task,) = wait(ecs, "stopped", [task["taskArn"]])
        assert task["stopCode"] == "TerminationNotice"
        assert ecs.list_container_instances()["containerInstanceArns"] == []
        (shown,) = ecs.describe_container_instances(containerInstances=[arn])["containerInstances"]
        assert shown["status"] == "INACTIVE"
        assert ecs.describe_clusters()["clusters"][0]["registeredContainerInstancesCount"] == 0
        with pytest.raises(ecs.exceptions.InvalidParameterException, match="No Container Instances"):
            ecs.run_task(taskDefinition="sleeper")
        agent.stop()
    with own_agent(tmp_path) as agent:
        ecs = agent.client()
        assert ecs.list_container_instances(status="ACTIVE")["containerInstanceArns"] == [arn]
        ecs.put_attributes(attributes=[{"name": "kept", "value": "yes", "targetId": arn}])
        agent.stop()
    with own_agent(tmp_path) as agent:
        (shown,) = agent.client().describe_container_instances(containerInstances=[arn])["containerInstances"]
        assert {"name": "kept", "value": "yes"} in shown["attributes"]
        agent.stop()
