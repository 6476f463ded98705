"""Container instances without a box, as ECS's own agent registers them."""

import json

import pytest

from conftest import wait
from test_simulate import hub, place  # noqa: F401  (fixtures)

DOCUMENT = {"instanceId": "i-0123", "instanceType": "m5.large", "availabilityZone": "eu-1a", "architecture": "arm64"}


def integer(name, value):
    return {"name": name, "type": "INTEGER", "integerValue": value}


@pytest.fixture
def ecs(hub):  # noqa: F811
    return hub.client()


def register(ecs, **more):
    return ecs.register_container_instance(**more)["containerInstance"]


def attributes(instance):
    return {a["name"]: a.get("value") for a in instance["attributes"]}


def test_an_instance_is_what_it_tells(ecs):
    instance = register(
        ecs,
        instanceIdentityDocument=json.dumps(DOCUMENT),
        instanceIdentityDocumentSignature="not checked",
        totalResources=[
            integer("CPU", 2048), integer("MEMORY", 3955),
            {"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22", "51678"]},
            {"name": "PORTS_UDP", "type": "STRINGSET", "stringSetValue": []},
        ],
        versionInfo={"agentVersion": "1.90.0", "agentHash": "abc", "dockerVersion": "DockerVersion: 25"},
        attributes=[{"name": "rack", "value": "a"}, {"name": "ssd"}],
        platformDevices=[{"id": "gpu-1", "type": "GPU"}],
        tags=[{"key": "k", "value": "v"}],
    )
    assert (instance["status"], instance["agentConnected"]) == ("ACTIVE", True)
    assert instance["ec2InstanceId"] == "i-0123"
    assert instance["versionInfo"]["dockerVersion"] == "DockerVersion: 25"
    registered = {r["name"]: r for r in instance["registeredResources"]}
    assert registered["CPU"]["integerValue"] == 2048 and registered["MEMORY"]["integerValue"] == 3955
    assert registered["PORTS"]["stringSetValue"] == ["22", "51678"] and registered["GPU"]["stringSetValue"] == ["gpu-1"]
    told = attributes(instance)
    assert (told["rack"], told["ssd"]) == ("a", None)
    assert told["ecs.cpu-architecture"] == "arm64" and told["ecs.availability-zone"] == "eu-1a"
    assert instance["tags"] == [{"key": "k", "value": "v"}]

    # It comes again, with something else to tell.
    arn = instance["containerInstanceArn"]
    ecs.put_attributes(attributes=[{"name": "rack", "value": "b", "targetId": arn}])
    again = register(ecs, containerInstanceArn=arn, attributes=[{"name": "rack", "value": "c"}, {"name": "new"}])
    assert again["containerInstanceArn"] == arn
    assert attributes(again)["rack"] == "b" and "new" in attributes(again) and "ssd" not in attributes(again)
    assert again["tags"] == instance["tags"]


def test_without_anything_told_it_has_four_cores(ecs):
    resources = {r["name"]: r["integerValue"] for r in register(ecs)["registeredResources"]}
    assert (resources["CPU"], resources["MEMORY"]) == (4096, 8192)


def test_what_is_refused(ecs):
    invalid, client = ecs.exceptions.InvalidParameterException, ecs.exceptions.ClientException
    for wrong in (
        {"totalResources": [integer("DISK", 1)]},
        {"totalResources": [integer("CPU", -1)]},
        {"attributes": [{"name": "a b"}]},
        {"tags": [{"key": "aws:x", "value": "y"}]},
        {"cluster": "a b"},
    ):
        with pytest.raises(invalid):
            register(ecs, **wrong)
    with pytest.raises(client):
        register(ecs, instanceIdentityDocument="{")
    with pytest.raises(client):
        register(ecs, containerInstanceArn="0" * 32)
    with pytest.raises(ecs.exceptions.ClusterNotFoundException):
        register(ecs, cluster="nowhere")


def test_instances_with_tasks_leave_by_force_alone(ecs):
    arn = register(ecs, attributes=[{"name": "ecs.availability-zone", "value": "east"}])["containerInstanceArn"]
    container = {"name": "main", "image": "any", "memory": 64}
    ecs.register_task_definition(family="web", containerDefinitions=[container])
    (task,) = ecs.start_task(taskDefinition="web", containerInstances=[arn])["tasks"]
    (task,) = wait(ecs, "running", [task["taskArn"]])
    assert task["availabilityZone"] == "east"
    (busy,) = ecs.describe_container_instances(containerInstances=[arn])["containerInstances"]
    assert busy["runningTasksCount"] == 1
    with pytest.raises(ecs.exceptions.InvalidParameterException, match="Found running tasks on the instance."):
        ecs.deregister_container_instance(containerInstance=arn)
    gone = ecs.deregister_container_instance(containerInstance=arn, force=True)["containerInstance"]
    assert (gone["status"], gone["agentConnected"]) == ("INACTIVE", False)
    (task,) = wait(ecs, "stopped", [task["taskArn"]])
    assert task["stopCode"] == "TerminationNotice"
    assert arn not in ecs.list_container_instances()["containerInstanceArns"]
    answer = ecs.update_container_instances_state(containerInstances=[arn], status="DRAINING")
    assert [f["reason"] for f in answer["failures"]] == ["INACTIVE"]
    with pytest.raises(ecs.exceptions.NoUpdateAvailableException):
        ecs.update_container_agent(containerInstance=register(ecs)["containerInstanceArn"])


def test_tasks_go_to_the_pools_of_a_strategy(ecs):
    pools = {}
    for pool in ("dock", "dock", "yard"):
        arn = register(ecs, attributes=[{"name": "coracle.capacity-provider", "value": pool}])["containerInstanceArn"]
        pools[arn] = pool
    strategy = [{"capacityProvider": "dock", "weight": 1, "base": 0}, {"capacityProvider": "yard", "weight": 3, "base": 2}]
    ecs.put_cluster_capacity_providers(
        cluster="default", capacityProviders=["dock", "yard"], defaultCapacityProviderStrategy=strategy
    )
    container = {"name": "main", "image": "any", "memory": 64}
    ecs.register_task_definition(family="web", containerDefinitions=[container])
    tasks = ecs.run_task(taskDefinition="web", count=10)["tasks"]
    chosen = [pools[task["containerInstanceArn"]] for task in tasks]
    assert (chosen.count("dock"), chosen.count("yard")) == (2, 8)
    assert [task["capacityProviderName"] for task in tasks] == chosen
    with pytest.raises(ecs.exceptions.ResourceInUseException):
        ecs.put_cluster_capacity_providers(
            cluster="default", capacityProviders=["dock"], defaultCapacityProviderStrategy=[]
        )


def stable(ecs, service):
    """Waits until the service is steady; then the boxes that its tasks run on."""
    ecs.get_waiter("services_stable").wait(services=[service], WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})
    arns = ecs.list_tasks(serviceName=service)["taskArns"]
    tasks = ecs.describe_tasks(tasks=arns)["tasks"] if arns else []
    return sorted(t["containerInstanceArn"] for t in tasks if t["lastStatus"] == "RUNNING")


def test_services_leave_an_instance_that_drains_or_is_gone(ecs):
    (zero,) = ecs.list_container_instances()["containerInstanceArns"]
    ecs.deregister_container_instance(containerInstance=zero)
    one, other = (register(ecs)["containerInstanceArn"] for _ in range(2))
    container = {"name": "main", "image": "any", "memory": 64}
    ecs.register_task_definition(family="web", containerDefinitions=[container])
    spread = [{"type": "spread", "field": "instanceId"}]
    ecs.create_service(serviceName="web", taskDefinition="web", desiredCount=4, placementStrategy=spread)
    ecs.create_service(serviceName="each", taskDefinition="web", schedulingStrategy="DAEMON")
    assert stable(ecs, "web") == sorted([one, one, other, other])
    assert stable(ecs, "each") == sorted([one, other])

    ecs.update_container_instances_state(containerInstances=[one], status="DRAINING")
    assert stable(ecs, "web") == [other] * 4
    ecs.update_container_instances_state(containerInstances=[one], status="ACTIVE")
    assert stable(ecs, "each") == sorted([one, other])

    # The tasks of a box that is gone come back elsewhere; protected ones do not keep it.
    gone = ecs.list_tasks(serviceName="web", containerInstance=other)["taskArns"]
    ecs.update_task_protection(cluster="default", tasks=gone, protectionEnabled=True)
    ecs.deregister_container_instance(containerInstance=other, force=True)
    assert stable(ecs, "web") == [one] * 4
    assert stable(ecs, "each") == [one]
    (cluster,) = ecs.describe_clusters()["clusters"]
    assert (cluster["registeredContainerInstancesCount"], cluster["activeServicesCount"]) == (1, 2)
    assert cluster["runningTasksCount"] == 5
