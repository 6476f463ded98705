"""Tasks, from RunTask to STOPPED."""

import time

import pytest


def container(task, name="main"):
    return next(c for c in task["containers"] if c["name"] == name)


def test_the_whole_life_of_a_task(ecs, define, busybox, wait_for, name):
    registered = define(image=busybox, command=["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.05; done"])
    before = time.time()
    answer = ecs.run_task(taskDefinition=name, startedBy="me", tags=[{"key": "k", "value": "v"}])
    assert answer["failures"] == []
    (task,) = answer["tasks"]
    arn = task["taskArn"]
    assert arn.startswith("arn:aws:ecs:local:000000000000:task/default/") and len(arn.rsplit("/", 1)[1]) == 32
    assert task["taskDefinitionArn"] == registered["taskDefinitionArn"]
    assert (task["desiredStatus"], task["launchType"], task["startedBy"]) == ("RUNNING", "EC2", "me")
    assert task["lastStatus"] in ("PROVISIONING", "PENDING", "RUNNING")
    assert task["group"] == f"family:{name}" and task["tags"] == [{"key": "k", "value": "v"}]
    assert task["overrides"]["containerOverrides"] == [{"name": "main"}]
    assert abs(task["createdAt"].timestamp() - before) < 60

    (task,) = wait_for("running", [arn])
    assert task["tags"] == [] and task["attachments"] == [] and task["connectivity"] == "CONNECTED"
    main = container(task)
    assert main["lastStatus"] == "RUNNING" and main["runtimeId"].startswith(arn.rsplit("/", 1)[1])
    assert main["imageDigest"].startswith("sha256:") and "exitCode" not in main
    assert (main["cpu"], main["memory"], main["networkInterfaces"]) == ("0", "16", [])
    assert task["startedAt"] >= task["createdAt"]
    assert arn in ecs.list_tasks()["taskArns"]

    stopping = ecs.stop_task(task=arn, reason="enough")["task"]
    assert (stopping["desiredStatus"], stopping["taskArn"]) == ("STOPPED", arn)
    (task,) = wait_for("stopped", [arn])
    assert (task["stopCode"], task["stoppedReason"]) == ("UserInitiated", "enough")
    assert container(task)["exitCode"] == 7
    assert task["startedAt"] <= task["stoppingAt"] <= task["executionStoppedAt"] <= task["stoppedAt"]
    assert arn not in ecs.list_tasks()["taskArns"]
    assert arn in ecs.list_tasks(desiredStatus="STOPPED")["taskArns"]
    assert ecs.stop_task(task=arn)["task"]["stoppedReason"] == "enough", "stopping twice changes nothing"


def test_an_exit_ends_the_task(ecs, define, wait_for):
    definition = define(environment=[{"name": "EXIT_CODE", "value": "3"}])
    arn = ecs.run_task(taskDefinition=definition["taskDefinitionArn"])["tasks"][0]["taskArn"]
    (task,) = wait_for("stopped", [arn])
    assert container(task)["exitCode"] == 3
    assert task["stopCode"] == "EssentialContainerExited"
    assert task["stoppedReason"] == "Essential container in task exited"


def test_overrides_are_for_one_task(ecs, define, wait_for):
    definition = define()["taskDefinitionArn"]
    override = {"name": "main", "environment": [{"name": "EXIT_CODE", "value": "9"}]}
    (task,) = ecs.run_task(taskDefinition=definition, overrides={"containerOverrides": [override]})["tasks"]
    assert task["overrides"]["containerOverrides"] == [override]
    plain = ecs.run_task(taskDefinition=definition)["tasks"][0]["taskArn"]
    codes = [container(t)["exitCode"] for t in wait_for("stopped", [task["taskArn"], plain])]
    assert codes == [9, 0]


def test_a_count_of_tasks_and_a_client_token(ecs, define, wait_for, name, refused):
    definition = define()["taskDefinitionArn"]
    arguments = {"taskDefinition": definition, "count": 3, "clientToken": name}
    tasks = [t["taskArn"] for t in ecs.run_task(**arguments)["tasks"]]
    assert len(set(tasks)) == 3
    again = [t["taskArn"] for t in ecs.run_task(**arguments)["tasks"]]
    assert sorted(again) == sorted(tasks)
    code, _, status = refused("run_task", **{**arguments, "count": 2})
    assert (code, status) == ("ConflictException", 400)
    wait_for("stopped", tasks)


def test_start_task_on_this_box(ecs, define, wait_for):
    definition = define()["taskDefinitionArn"]
    (box,) = ecs.list_container_instances()["containerInstanceArns"]
    answer = ecs.start_task(taskDefinition=definition, containerInstances=[box, "0" * 32])
    (task,) = answer["tasks"]
    assert task["containerInstanceArn"] == box
    assert answer["failures"][0]["reason"] == "MISSING"
    wait_for("stopped", [task["taskArn"]])


def test_what_does_not_fit_is_a_failure(ecs, define):
    definition = define(memory=100_000_000)["taskDefinitionArn"]
    answer = ecs.run_task(taskDefinition=definition)
    assert answer["tasks"] == []
    assert [f["reason"] for f in answer["failures"]] == ["RESOURCE:MEMORY"]
    definition = define(cpu=200_000)["taskDefinitionArn"]
    assert [f["reason"] for f in ecs.run_task(taskDefinition=definition)["failures"]] == ["RESOURCE:CPU"]


def test_filters_of_list_tasks(ecs, sleeper, wait_for, name):
    arns = [t["taskArn"] for t in ecs.run_task(taskDefinition=name, count=2, startedBy=name)["tasks"]]
    (box,) = ecs.list_container_instances()["containerInstanceArns"]
    listed = lambda **filters: sorted(ecs.list_tasks(**filters)["taskArns"])
    try:
        assert listed(family=name) == listed(startedBy=name) == sorted(arns)
        assert listed(family=name, containerInstance=box, launchType="EC2") == sorted(arns)
        assert listed(family=name, launchType="FARGATE") == []
        assert listed(family=name, desiredStatus="STOPPED") == []
        assert listed(family="other") == []
    finally:
        for arn in arns:
            ecs.stop_task(task=arn)
        wait_for("stopped", arns)
    assert listed(family=name) == []
    assert listed(family=name, desiredStatus="STOPPED") == sorted(arns)


def test_counters_of_cluster_and_box_are_live(ecs, sleeper, wait_for):
    (box,) = ecs.list_container_instances()["containerInstanceArns"]

    def remaining():
        (found,) = ecs.describe_container_instances(containerInstances=[box])["containerInstances"]
        resources = {r["name"]: r.get("integerValue") for r in found["remainingResources"]}
        return found["runningTasksCount"], resources["MEMORY"]

    count, memory = remaining()
    arn = ecs.run_task(taskDefinition=sleeper["taskDefinitionArn"])["tasks"][0]["taskArn"]
    wait_for("running", [arn])
    assert remaining() == (count + 1, memory - 16)
    assert ecs.describe_clusters()["clusters"][0]["runningTasksCount"] == count + 1
    ecs.stop_task(task=arn)
    wait_for("stopped", [arn])
    assert remaining() == (count, memory)


def test_ports_of_the_box_in_host_mode(ecs, define, busybox, wait_for):
    ports = [{"containerPort": 18_080, "protocol": "tcp"}, {"containerPort": 18_081, "protocol": "udp"}]
    definition = define(
        image=busybox, command=["sleep", "1000"], portMappings=ports, stopTimeout=2,
        definition={"networkMode": "host"},
    )["taskDefinitionArn"]
    arn = ecs.run_task(taskDefinition=definition)["tasks"][0]["taskArn"]
    (task,) = wait_for("running", [arn])
    bindings = [(b["bindIP"], b["containerPort"], b["hostPort"], b["protocol"]) for b in container(task)["networkBindings"]]
    assert bindings == [("0.0.0.0", 18_080, 18_080, "tcp"), ("0.0.0.0", 18_081, 18_081, "udp")]
    assert [f["reason"] for f in ecs.run_task(taskDefinition=definition)["failures"]] == ["RESOURCE:PORTS"]
    (found,) = ecs.describe_container_instances(containerInstances=[task["containerInstanceArn"]])["containerInstances"]
    sets = {r["name"]: r.get("stringSetValue") for r in found["remainingResources"]}
    assert "18080" in sets["PORTS"] and "18081" in sets["PORTS_UDP"]
    ecs.stop_task(task=arn)
    wait_for("stopped", [arn])


def test_what_is_missing_is_a_failure(ecs):
    answer = ecs.describe_tasks(tasks=["0" * 32])
    assert answer["tasks"] == []
    arn = "arn:aws:ecs:local:000000000000:task/default/" + "0" * 32
    assert answer["failures"] == [{"arn": arn, "reason": "MISSING"}]


def test_a_task_is_found_in_its_own_cluster_only(ecs, define, cluster, wait_for, refused):
    arn = ecs.run_task(taskDefinition=define()["taskDefinitionArn"])["tasks"][0]["taskArn"]
    wait_for("stopped", [arn])
    assert ecs.describe_tasks(cluster=cluster, tasks=[arn])["failures"][0]["reason"] == "MISSING"
    missing = ("InvalidParameterException", "The referenced task was not found.", 400)
    assert refused("stop_task", cluster=cluster, task=arn) == missing
    abroad = arn.replace(":local:", ":us-east-1:").replace(":000000000000:", ":123456789012:")
    assert ecs.describe_tasks(tasks=[abroad])["tasks"][0]["taskArn"] == arn


@pytest.mark.parametrize(
    "operation, arguments, code, message",
    [
        ("describe_tasks", {"tasks": []}, "InvalidParameterException", "Tasks cannot be empty."),
        ("describe_tasks", {"tasks": ["x"]}, "InvalidParameterException", "taskId length should be one of [32,36]"),
        ("describe_tasks", {"tasks": ["0" * 32] * 101}, "InvalidParameterException", None),
        ("describe_tasks", {"tasks": ["arn:aws:ecs:r:1:cluster/x"]}, "InvalidParameterException", None),
        ("describe_tasks", {"cluster": "nowhere", "tasks": ["0" * 32]}, "ClusterNotFoundException", "Cluster not found."),
        ("list_tasks", {"cluster": "nowhere"}, "ClusterNotFoundException", "Cluster not found."),
        ("list_tasks", {"serviceName": "web"}, "ServiceNotFoundException", "Service not found."),
        ("list_tasks", {"launchType": "BOAT"}, "InvalidParameterException", None),
        ("stop_task", {"task": "0" * 32}, "InvalidParameterException", "The referenced task was not found."),
        ("stop_task", {"cluster": "nowhere", "task": "0" * 32}, "ClusterNotFoundException", "Cluster not found."),
        ("run_task", {"taskDefinition": ""}, "InvalidParameterException", "Task definition cannot be empty."),
        ("run_task", {"taskDefinition": "nothing"}, "ClientException", "TaskDefinition not found."),
        ("run_task", {"taskDefinition": "x", "count": 0}, "InvalidParameterException", None),
        ("run_task", {"taskDefinition": "x", "count": 11}, "InvalidParameterException", None),
        ("run_task", {"taskDefinition": "x", "clientToken": "x" * 65}, "InvalidParameterException", None),
        ("run_task", {"taskDefinition": "x", "propagateTags": "SERVICE"}, "InvalidParameterException", None),
        ("run_task", {"taskDefinition": "x", "launchType": "EC2", "capacityProviderStrategy": [{"capacityProvider": "a"}]}, "InvalidParameterException", "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again."),
        ("run_task", {"taskDefinition": "x", "cluster": "nowhere"}, "ClusterNotFoundException", "Cluster not found."),
        ("start_task", {"taskDefinition": "x", "containerInstances": []}, "InvalidParameterException", "Container instances cannot be empty."),
        ("start_task", {"taskDefinition": "x", "containerInstances": ["0" * 32] * 11}, "InvalidParameterException", None),
    ],
)
def test_what_is_refused(refused, operation, arguments, code, message):
    found, text, status = refused(operation, **arguments)
    assert (found, status) == (code, 400)
    if message:
        assert text == message


def test_run_task_needs_a_box_and_known_containers(refused, define, cluster):
    definition = define()["taskDefinitionArn"]
    code, message, _ = refused("run_task", cluster=cluster, taskDefinition=definition)
    assert (code, message) == ("InvalidParameterException", "No Container Instances were found in your cluster.")
    code, message, _ = refused(
        "run_task", taskDefinition=definition, overrides={"containerOverrides": [{"name": "nobody"}]}
    )
    assert code == "InvalidParameterException" and "nobody" in message


def test_network_configuration_is_for_awsvpc(refused, define):
    configuration = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}
    code, message, _ = refused(
        "run_task", taskDefinition=define()["taskDefinitionArn"], networkConfiguration=configuration
    )
    assert code == "InvalidParameterException" and message.startswith("Network Configuration is not valid")
    definition = define(definition={"networkMode": "awsvpc"})["taskDefinitionArn"]
    code, message, _ = refused("run_task", taskDefinition=definition)
    assert (code, message) == (
        "InvalidParameterException",
        "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
    )
    configuration = {"awsvpcConfiguration": {"subnets": []}}
    code, message, _ = refused("run_task", taskDefinition=definition, networkConfiguration=configuration)
    assert (code, message) == ("InvalidParameterException", "subnets can not be empty.")


def test_bindings_of_bridge_mode(ecs, define, busybox, wait_for):
    ports = [{"containerPort": 80}, {"containerPortRange": "7000-7003", "protocol": "udp"}]
    definition = define(
        image=busybox, stopTimeout=2, command=["sleep", "600"], portMappings=ports, definition={"networkMode": "bridge"}
    )
    (task,) = ecs.run_task(taskDefinition=definition["taskDefinitionArn"])["tasks"]
    (task,) = wait_for("running", [task["taskArn"]])
    one, many = sorted(task["containers"][0]["networkBindings"], key=lambda binding: binding["protocol"])
    assert {**one, "hostPort": 0} == {"bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 0, "protocol": "tcp"}
    first, last = map(int, many["hostPortRange"].split("-"))
    assert (many["containerPortRange"], last - first) == ("7000-7003", 3)
    assert task["attachments"] == [] and task["containers"][0]["networkInterfaces"] == []
    ecs.stop_task(task=task["taskArn"])
    wait_for("stopped", [task["taskArn"]])


def test_tags_of_the_definition(ecs, define, wait_for):
    definition = define(tags=[{"key": "from", "value": "definition"}])["taskDefinitionArn"]
    (task,) = ecs.run_task(taskDefinition=definition, propagateTags="TASK_DEFINITION", enableECSManagedTags=True)["tasks"]
    wait_for("stopped", [task["taskArn"]])
    (task,) = ecs.describe_tasks(tasks=[task["taskArn"]], include=["TAGS"])["tasks"]
    tags = {t["key"]: t["value"] for t in task["tags"]}
    assert tags == {"from": "definition", "aws:ecs:clusterName": "default"}
