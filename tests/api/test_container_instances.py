"""The box as a container instance."""


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
    assert refused("describe_container_instances", containerInstances=[])[1] == "Container instances cannot be empty."
    assert refused("list_container_instances", cluster="nowhere")[0] == "ClusterNotFoundException"
    code, message, _ = refused("list_container_instances", filter="attribute:x == y")
    assert code == "ClientException" and "cluster query language" in message
