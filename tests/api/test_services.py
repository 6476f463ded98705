"""Services: made, rolled out, scaled, stopped and deleted, with real tasks on the box."""

import time

import pytest

from conftest import PATIENCE

QUICK = {"Delay": 0.1, "MaxAttempts": PATIENCE * 10}


@pytest.fixture
def stable(ecs, until):
    """Waits until a service is stable and its roll-out is over; then the service."""

    def over(service):
        return service["deployments"][0]["rolloutState"] == "COMPLETED"

    def stable(service):
        ecs.get_waiter("services_stable").wait(services=[service], WaiterConfig=QUICK)
        return until(service, over)

    return stable


@pytest.fixture
def scope(agent):
    return f"arn:aws:ecs:{agent.region}:{agent.account}:"


@pytest.fixture
def until(ecs):
    """Describes a service until a condition holds, as a waiter does; then the service."""

    def until(service, condition):
        end = time.monotonic() + PATIENCE
        while True:
            (shown,) = ecs.describe_services(services=[service])["services"]
            if condition(shown):
                return shown
            assert time.monotonic() < end, shown
            time.sleep(0.1)

    return until


@pytest.fixture
def service(ecs, sleeper, name):
    """Makes a service; all of them are deleted in the end."""
    made = []

    def service(**arguments):
        arguments = {"serviceName": name, "taskDefinition": sleeper["taskDefinitionArn"], "desiredCount": 1, **arguments}
        shown = ecs.create_service(**{k: v for k, v in arguments.items() if v is not None})["service"]
        made.append(shown)
        return shown

    yield service
    for one in made:
        (now,) = ecs.describe_services(services=[one["serviceArn"]], cluster=one["clusterArn"])["services"]
        if now["status"] != "INACTIVE":
            ecs.delete_service(service=one["serviceArn"], cluster=one["clusterArn"], force=True)
        waiter = ecs.get_waiter("services_inactive")
        waiter.wait(services=[one["serviceArn"]], cluster=one["clusterArn"], WaiterConfig=QUICK)


def tasks_of(ecs, name, **more):
    arns = ecs.list_tasks(serviceName=name, **more)["taskArns"]
    return ecs.describe_tasks(tasks=arns, include=["TAGS"])["tasks"] if arns else []


def test_the_whole_life_of_a_service(ecs, service, stable, name, sleeper, refused, scope):
    before = time.time()
    tags = [{"key": "k", "value": "v"}]
    made = service(desiredCount=2, tags=tags, propagateTags="SERVICE", enableECSManagedTags=True)
    assert made["serviceArn"] == f"{scope}service/default/{name}" and made["clusterArn"] == f"{scope}cluster/default"
    assert (made["status"], made["desiredCount"], made["launchType"]) == ("ACTIVE", 2, "EC2")
    assert (made["schedulingStrategy"], made["propagateTags"]) == ("REPLICA", "SERVICE")
    assert made["deploymentConfiguration"]["maximumPercent"] == 200
    assert made["deploymentConfiguration"]["minimumHealthyPercent"] == 100
    assert made["taskDefinition"] == sleeper["taskDefinitionArn"] and made["tags"] == tags
    assert made["loadBalancers"] == made["serviceRegistries"] == made["placementConstraints"] == []
    assert abs(made["createdAt"].timestamp() - before) < 60
    (primary,) = made["deployments"]
    assert (primary["status"], primary["rolloutState"], primary["desiredCount"]) == ("PRIMARY", "IN_PROGRESS", 2)
    assert made["serviceArn"] in ecs.list_services(maxResults=100)["serviceArns"]

    shown = stable(name)
    assert (shown["runningCount"], shown["pendingCount"]) == (2, 0)
    (primary,) = shown["deployments"]
    assert (primary["rolloutState"], primary["runningCount"], primary["failedTasks"]) == ("COMPLETED", 2, 0)
    assert "reached a steady state" in shown["events"][0]["message"]
    tasks = tasks_of(ecs, name)
    assert len(tasks) == 2
    for task in tasks:
        assert (task["group"], task["startedBy"]) == (f"service:{name}", primary["id"])
        managed = {"aws:ecs:clusterName": "default", "aws:ecs:serviceName": name}
        assert {t["key"]: t["value"] for t in task["tags"]} == {"k": "v", **managed}

    code, message, status = refused("delete_service", service=name)
    assert (code, status) == ("InvalidParameterException", 400)
    assert message == "The service cannot be stopped while it is scaled above 0."
    assert ecs.update_service(service=name, desiredCount=0)["service"]["desiredCount"] == 0
    assert stable(name)["runningCount"] == 0
    gone = ecs.delete_service(service=name)["service"]
    assert (gone["status"], gone["desiredCount"]) == ("DRAINING", 0)
    ecs.get_waiter("services_inactive").wait(services=[name], WaiterConfig=QUICK)
    (shown,) = ecs.describe_services(services=[name])["services"]
    assert (shown["status"], shown["deployments"], shown["runningCount"]) == ("INACTIVE", [], 0)
    assert shown["taskDefinition"] == sleeper["taskDefinitionArn"]
    assert made["serviceArn"] not in ecs.list_services(maxResults=100)["serviceArns"]
    assert refused("update_service", service=name)[0] == "ServiceNotActiveException"
    assert refused("delete_service", service=name)[0] == "ServiceNotFoundException"
    again = service(desiredCount=0)
    assert again["status"] == "ACTIVE" and again["createdAt"] > made["createdAt"]


def test_a_new_revision_replaces_the_old_one(ecs, service, stable, define, busybox, name):
    service()
    first = stable(name)
    second = define(image=busybox, command=["sleep", "600"], stopTimeout=2)["taskDefinitionArn"]
    updated = ecs.update_service(service=name, taskDefinition=name)["service"]
    assert updated["taskDefinition"] == second, "a family alone is its newest revision"
    assert [d["status"] for d in updated["deployments"]] == ["PRIMARY", "ACTIVE"]
    shown = stable(name)
    (primary,) = shown["deployments"]
    assert primary["taskDefinition"] == second and primary["id"] != first["deployments"][0]["id"]
    (task,) = tasks_of(ecs, name)
    assert task["taskDefinitionArn"] == second
    unchanged = ecs.update_service(service=name, taskDefinition=second)["service"]
    assert len(unchanged["deployments"]) == 1, "the same again makes no deployment"

    listed = ecs.list_service_deployments(service=name)["serviceDeployments"]
    assert [d["status"] for d in listed] == ["SUCCESSFUL", "SUCCESSFUL"]
    assert listed[0]["createdAt"] > listed[1]["createdAt"]
    assert listed[0]["serviceDeploymentArn"] == shown["currentServiceDeployment"]
    older = ecs.list_service_deployments(service=name, createdAt={"before": listed[1]["createdAt"]})
    assert [d["createdAt"] for d in older["serviceDeployments"]] == [listed[1]["createdAt"]]
    assert ecs.list_service_deployments(service=name, status=["PENDING"])["serviceDeployments"] == []
    unknown = listed[0]["serviceDeploymentArn"] + "x"
    answer = ecs.describe_service_deployments(serviceDeploymentArns=[listed[0]["serviceDeploymentArn"], unknown])
    assert answer["failures"] == [{"arn": unknown, "reason": "MISSING"}]
    (record,) = answer["serviceDeployments"]
    assert record["finishedAt"] >= record["startedAt"] >= record["createdAt"]
    (source,) = record["sourceServiceRevisions"]
    (current,) = shown["currentServiceRevisions"]
    assert record["targetServiceRevision"] == current
    assert (current["requestedTaskCount"], current["runningTaskCount"], current["pendingTaskCount"]) == (1, 1, 0)

    revisions = ecs.describe_service_revisions(serviceRevisionArns=[source["arn"], current["arn"]])["serviceRevisions"]
    assert [r["taskDefinition"] for r in revisions] == [first["taskDefinition"], second]
    for revision in revisions:
        (image,) = revision["containerImages"]
        assert (image["containerName"], image["image"]) == ("main", busybox)
        assert image["imageDigest"].startswith("sha256:")


@pytest.mark.box
def test_a_roll_out_that_fails_is_given_up_or_stopped(ecs, service, stable, define, until, name, refused):
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
    service(deploymentConfiguration=breaker)
    good = stable(name)["taskDefinition"]
    bad = define(environment=[{"name": "EXIT_CODE", "value": "1"}])["taskDefinitionArn"]
    ecs.update_service(service=name, taskDefinition=bad)
    shown = until(name, lambda s: s["taskDefinition"] == good and len(s["deployments"]) == 1)
    assert shown["runningCount"] == 1, "the good task ran all the time"
    (record,) = ecs.describe_service_deployments(
        serviceDeploymentArns=[shown["currentServiceDeployment"]]
    )["serviceDeployments"]
    assert record["status"] == "ROLLBACK_SUCCESSFUL" and record["rollback"]["reason"]
    assert record["deploymentCircuitBreaker"]["status"] == "TRIGGERED"
    assert record["deploymentCircuitBreaker"]["failureCount"] >= 3

    off = {"deploymentCircuitBreaker": {"enable": False, "rollback": False}}
    begun = ecs.update_service(service=name, taskDefinition=bad, deploymentConfiguration=off)["service"]
    arn = begun["currentServiceDeployment"]
    assert ecs.stop_service_deployment(serviceDeploymentArn=arn)["serviceDeploymentArn"] == arn
    shown = until(name, lambda s: s["taskDefinition"] == good and len(s["deployments"]) == 1)
    assert shown["runningCount"] == 1
    code, message, status = refused("stop_service_deployment", serviceDeploymentArn=arn)
    assert (code, status) == ("ConflictException", 400) and "ROLLBACK_SUCCESSFUL" in message


def test_a_daemon_service_has_one_task_on_the_box(ecs, service, stable, until, name, refused):
    shown = service(schedulingStrategy="DAEMON", desiredCount=None)
    assert shown["deploymentConfiguration"]["maximumPercent"] == 100
    until(name, lambda s: s["desiredCount"] == s["runningCount"] == 1)
    assert refused("update_service", service=name, desiredCount=2)[1].startswith("The daemon scheduling strategy")
    ecs.delete_service(service=name)
    ecs.get_waiter("services_inactive").wait(services=[name], WaiterConfig=QUICK)


def test_a_protected_task_outlives_a_scale_in(ecs, service, stable, until, name):
    service(desiredCount=2)
    stable(name)
    (one, other) = ecs.list_tasks(serviceName=name)["taskArns"]
    answer = ecs.update_task_protection(cluster="default", tasks=[one], protectionEnabled=True)
    assert answer["failures"] == [] and answer["protectedTasks"][0]["protectionEnabled"]
    assert [t["taskArn"] for t in ecs.get_task_protection(cluster="default")["protectedTasks"]].count(other) == 1
    ecs.update_service(service=name, desiredCount=1)
    until(name, lambda s: s["runningCount"] == 1)
    assert ecs.list_tasks(serviceName=name)["taskArns"] == [one]


def test_requests_are_idempotent(ecs, service, name, refused, sleeper):
    first = service(desiredCount=0, clientToken=name)
    assert service(desiredCount=0, clientToken=name)["createdAt"] == first["createdAt"]
    again = {"serviceName": name, "taskDefinition": sleeper["taskDefinitionArn"]}
    for differs in ({"desiredCount": 1, "clientToken": name}, {"desiredCount": 1}):
        code, message, _ = refused("create_service", **again, **differs)
        assert (code, message) == ("InvalidParameterException", "Creation of service was not idempotent.")


def test_what_is_not_supported_is_refused_by_name(refused, sleeper, name, service, ecs):
    arguments = {"serviceName": name, "taskDefinition": sleeper["taskDefinitionArn"], "desiredCount": 0}
    role = "arn:aws:iam::000000000000:role/r"
    for member, value in {
        "loadBalancers": [{"targetGroupArn": "arn", "containerName": "main", "containerPort": 80}],
        "vpcLatticeConfigurations": [{"roleArn": role, "targetGroupArn": "arn", "portName": "http"}],
        "volumeConfigurations": [{"name": "v", "managedEBSVolume": {"roleArn": role}}],
        "deploymentController": {"type": "CODE_DEPLOY"},
        "deploymentConfiguration": {"strategy": "BLUE_GREEN"},
    }.items():
        code, message, status = refused("create_service", **arguments, **{member: value})
        assert code in ("InvalidParameterException", "UnsupportedFeatureException") and status == 400
        assert message.startswith(member), message
    for configuration, member in (
        ({"alarms": {"alarmNames": ["a"], "rollback": True, "enable": True}}, "alarms"),
        ({"bakeTimeInMinutes": 5}, "bakeTimeInMinutes"),
    ):
        code, message, _ = refused("create_service", **arguments, deploymentConfiguration=configuration)
        assert code == "UnsupportedFeatureException" and member in message
    off = {"alarms": {"alarmNames": [], "rollback": False, "enable": False}, "strategy": "ROLLING"}
    service(desiredCount=0, deploymentConfiguration=off, loadBalancers=[])


def test_lists_and_failures(ecs, service, name, cluster, refused, scope):
    arns = sorted(service(serviceName=f"{name}-{n}", cluster=cluster, desiredCount=0)["serviceArn"] for n in range(12))
    service(serviceName=f"{name}-daemon", cluster=cluster, desiredCount=None, schedulingStrategy="DAEMON")
    listed = ecs.list_services(cluster=cluster, schedulingStrategy="REPLICA")
    assert len(listed["serviceArns"]) == 10, "a page has ten unless the request says"
    pages = ecs.get_paginator("list_services").paginate(cluster=cluster, schedulingStrategy="REPLICA")
    assert sorted(pages.build_full_result()["serviceArns"]) == arns
    assert ecs.list_services(cluster=cluster, launchType="FARGATE")["serviceArns"] == []
    assert len(ecs.list_services(cluster=cluster, launchType="EC2", maxResults=100)["serviceArns"]) == 13
    assert ecs.list_services(cluster=cluster, resourceManagementType="ECS")["serviceArns"] == []

    answer = ecs.describe_services(cluster=cluster, services=[arns[0], f"{name}-1", "nothing"])
    assert len(answer["services"]) == 2
    missing = f"{scope}service/{cluster}/nothing"
    assert answer["failures"] == [{"arn": missing, "reason": "MISSING"}]
    code, message, _ = refused("describe_services", services=[arns[0]])
    assert (code, message) == ("InvalidParameterException", f"Identifier is for {cluster}. Your cluster is default")
    assert refused("describe_services", services=["s"] * 11)[0] == "InvalidParameterException"
    assert refused("list_tasks", serviceName="nothing")[0] == "ServiceNotFoundException"
    assert ecs.list_tasks(cluster=cluster, serviceName=f"{name}-1")["taskArns"] == []


def test_names_and_namespaces(ecs, service, define, name, refused):
    port = {"name": "http", "containerPort": 80}
    definition = define(definition={"networkMode": "bridge"}, portMappings=[port])["taskDefinitionArn"]
    connect = {"enabled": True, "namespace": name, "services": [{"portName": "http", "clientAliases": [{"port": 80}]}]}
    made = service(taskDefinition=definition, desiredCount=0, serviceConnectConfiguration=connect)
    assert made["deployments"][0]["serviceConnectConfiguration"] == connect
    assert ecs.list_services_by_namespace(namespace=name)["serviceArns"] == [made["serviceArn"]]
    assert refused("list_services_by_namespace", namespace="nothing")[0] == "NamespaceNotFoundException"
    connect["services"][0]["clientAliases"][0]["port"] = 8080
    code, message, _ = refused("update_service", service=name, serviceConnectConfiguration=connect)
    assert code == "InvalidParameterException" and "container port" in message


def test_the_aws_cli_waits_for_a_service(agent, sleeper, name):
    made = agent.aws(
        "create-service", "--service-name", name, "--task-definition", sleeper["taskDefinitionArn"],
        "--desired-count", "1",
    )["service"]
    assert made["status"] == "ACTIVE"
    agent.aws("wait", "services-stable", "--services", name)
    agent.aws("delete-service", "--service", name, "--force")
    agent.aws("wait", "services-inactive", "--services", name)
    (gone,) = agent.aws("describe-services", "--services", name)["services"]
    assert gone["status"] == "INACTIVE"
