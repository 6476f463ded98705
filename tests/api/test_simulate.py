"""`coracle hub --simulate` as clients see it: no signatures, boxes by RegisterContainerInstance, reset, restarts."""

import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import botocore
import pytest

from conftest import PATIENCE, Hub

FAMILY = "sim"
RULES = [{"family": "job", "exits_after": "200ms", "exit_code": 4}]


@pytest.fixture
def place():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="coracle-sim-", dir="/var/tmp"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def hub(place):
    binary = os.environ.get("CORACLE_BIN")
    if not binary:
        pytest.skip("CORACLE_BIN does not name the binary under test")
    hub = Hub(binary, place)
    yield hub
    if hub.process.poll() is None:
        hub.stop()


def again(hub, place, how):
    """Ends the hub and starts another one in the same directories."""
    hub.process.send_signal(how)
    hub.process.wait(PATIENCE)
    hub.notify.close()
    (place / "notify").unlink()
    return Hub(hub.binary, place)


def unsigned(hub):
    return hub.client(config=botocore.config.Config(signature_version=botocore.UNSIGNED))


def post(hub, path, body=""):
    connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=PATIENCE)
    try:
        connection.request("POST", path, body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def register(ecs, family, **container):
    ecs.register_task_definition(family=family, containerDefinitions=[{"name": "app", "image": "nowhere.invalid/app", "memory": 64, **container}])


def instances(ecs):
    pages = ecs.get_paginator("list_container_instances").paginate(PaginationConfig={"PageSize": 7})
    return [arn for page in pages for arn in page["containerInstanceArns"]]


def test_fifty_boxes_with_any_credentials_and_none(hub):
    ecs = unsigned(hub)
    for number in range(50):
        client = ecs if number % 2 else hub.client()
        box = client.register_container_instance(cluster="default", attributes=[{"name": "zone", "value": "abc"[number % 3]}])
        assert box["containerInstance"]["status"] == "ACTIVE"
    boxes = instances(ecs)
    assert len(boxes) == 51  # one came with the hub
    register(ecs, FAMILY, portMappings=[{"containerPort": 80}])

    ran = ecs.run_task(taskDefinition=FAMILY, count=10)
    assert not ran["failures"]
    tasks = [task["taskArn"] for task in ran["tasks"]]
    ecs.get_waiter("tasks_running").wait(tasks=tasks, WaiterConfig={"Delay": 1, "MaxAttempts": 1})
    east = ecs.run_task(
        taskDefinition=FAMILY, count=5, placementConstraints=[{"type": "memberOf", "expression": "attribute:zone == a"}]
    )["tasks"]
    found = ecs.describe_container_instances(containerInstances=[task["containerInstanceArn"] for task in east])
    zones = [attribute["value"] for box in found["containerInstances"] for attribute in box["attributes"] if attribute["name"] == "zone"]
    assert set(zones) == {"a"}

    started = ecs.start_task(taskDefinition=FAMILY, containerInstances=boxes[:3])
    assert [task["containerInstanceArn"] for task in started["tasks"]] == boxes[:3]
    drained = ecs.update_container_instances_state(containerInstances=boxes[:1], status="DRAINING")["containerInstances"]
    assert drained[0]["status"] == "DRAINING"
    refused = ecs.start_task(taskDefinition=FAMILY, containerInstances=boxes[:1])
    assert not refused["tasks"] and len(refused["failures"]) == 1

    ecs.stop_task(task=tasks[0], reason="enough")
    ecs.get_waiter("tasks_stopped").wait(tasks=tasks[:1], WaiterConfig={"Delay": 1, "MaxAttempts": PATIENCE})
    (stopped,) = ecs.describe_tasks(tasks=tasks[:1])["tasks"]
    assert (stopped["stoppedReason"], stopped["containers"][0]["exitCode"]) == ("enough", 143)

    command = ["aws", "ecs", "list-tasks", "--no-sign-request", "--endpoint-url", hub.endpoint, "--region", "eu-central-1", "--output", "json"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=10 * PATIENCE, check=True)
    assert len(json.loads(listed.stdout)["taskArns"]) == 10 + 5 + 3 - 1


def test_awsvpc_tasks_have_addresses_of_their_own(hub):
    ecs = hub.client()
    ecs.register_task_definition(
        family="vpc", networkMode="awsvpc",
        containerDefinitions=[{"name": "app", "image": "app", "memory": 64, "portMappings": [{"containerPort": 80}]}],
    )
    network = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}
    tasks = ecs.run_task(taskDefinition="vpc", count=10, networkConfiguration=network)["tasks"]
    addresses = {task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"] for task in tasks}
    assert len(addresses) == 10
    assert all(task["attachments"][0]["status"] == "ATTACHED" for task in tasks)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_keeps_the_state_and_a_reset_empties_it(hub, place, how):
    ecs = hub.client()
    register(ecs, FAMILY)
    tasks = [task["taskArn"] for task in ecs.run_task(taskDefinition=FAMILY, count=3)["tasks"]]
    hub = again(hub, place, how)
    try:
        ecs = hub.client()
        assert sorted(ecs.list_tasks()["taskArns"]) == sorted(tasks)
        assert all(task["lastStatus"] == "RUNNING" for task in ecs.describe_tasks(tasks=tasks)["tasks"])
        assert post(hub, "/_simulate/reset") == (200, {"reset": True})
        hub = again(hub, place, how)  # registers its one box
        ecs = hub.client()
        assert not ecs.list_tasks()["taskArns"] and len(instances(ecs)) == 1
        assert not ecs.list_task_definition_families()["families"]
        assert [arn.rsplit("/")[-1] for arn in ecs.list_clusters()["clusterArns"]] == ["default"]
    finally:
        hub.stop()


def test_faults(hub):
    ecs = hub.client()
    assert post(hub, "/_simulate/faults", json.dumps({"rules": RULES}))[0] == 200
    register(ecs, "job")
    register(ecs, "slow", dockerLabels={"coracle.simulate.start-after": "never"})
    job = ecs.run_task(taskDefinition="job")["tasks"][0]["taskArn"]
    ecs.get_waiter("tasks_stopped").wait(tasks=[job], WaiterConfig={"Delay": 1, "MaxAttempts": PATIENCE})
    (stopped,) = ecs.describe_tasks(tasks=[job])["tasks"]
    assert (stopped["stopCode"], stopped["containers"][0]["exitCode"]) == ("EssentialContainerExited", 4)

    slow = ecs.run_task(taskDefinition="slow")["tasks"][0]
    assert slow["lastStatus"] == "PENDING"
    # Whoever tests plays the agent.
    ecs.submit_container_state_change(task=slow["taskArn"], containerName="app", status="RUNNING")
    (task,) = ecs.describe_tasks(tasks=[slow["taskArn"]])["tasks"]
    assert task["lastStatus"] == "RUNNING"
    ecs.submit_container_state_change(task=slow["taskArn"], containerName="app", status="STOPPED", exitCode=9)
    (task,) = ecs.describe_tasks(tasks=[slow["taskArn"]])["tasks"]
    assert (task["lastStatus"], task["containers"][0]["exitCode"]) == ("STOPPED", 9)

    status, answer = post(hub, "/_simulate/faults", '{"rules": [{"familly": "x"}]}')
    assert (status, answer["__type"]) == (400, "InvalidParameterException")
    assert post(hub, "/_simulate/nothing")[0] == 404
