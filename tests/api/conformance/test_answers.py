"""A life of everything there is: each operation that is there answers at least once, as its output shape says."""

import time
from conftest import PATIENCE, wait
from test_unavailable import EMPTY, THERE

TAGS = [{"key": "k", "value": "v"}]
EVERYTHING = {
    "DescribeClusters": ["ATTACHMENTS", "CONFIGURATIONS", "SETTINGS", "STATISTICS", "TAGS"],
    "DescribeContainerInstances": ["TAGS", "CONTAINER_INSTANCE_HEALTH"],
    "DescribeServices": ["TAGS"],
    "DescribeTaskDefinition": ["TAGS"],
    "DescribeTasks": ["TAGS"],
    "DescribeCapacityProviders": ["TAGS"],
}

# A box leaves its cluster in test_container_instances.py, others come and go in test_simulated_instances.py; agents are
# never updated.
ELSEWHERE = {"RegisterContainerInstance", "DeregisterContainerInstance", "UpdateContainerAgent"}


class Life:
    """Calls operations, as long as they are there, and notes which have answered."""

    def __init__(self, agent):
        self.agent = agent
        self.answered = set()

    def __call__(self, operation, **body):
        assert operation in THERE or operation in EMPTY, f"{operation} is not there"
        include = EVERYTHING.get(operation)
        status, _, content = self.agent.call(operation, {**body, **({"include": include} if include else {})})
        assert status == 200, f"{operation} {body}: {content}"
        self.answered.add(operation)
        return content


def test_everything_that_is_there_answers(agent, ecs, busybox, name):
    call = Life(agent)
    clusters(call, name)
    definitions(call, name, busybox)
    tasks(call, ecs, name)
    instances(call, name)
    settings(call)
    services(call, ecs, name)
    task_definitions_end(call, name)
    call("DeleteCluster", cluster=name)
    for operation in EMPTY:
        call(operation)
    assert sorted(THERE - call.answered - ELSEWHERE) == []


def clusters(call, name):
    configuration = {"executeCommandConfiguration": {"logging": "DEFAULT"}}
    setting = {"name": "containerInsights", "value": "disabled"}
    arn = call("CreateCluster", clusterName=name, tags=TAGS, configuration=configuration, settings=[setting])["cluster"]["clusterArn"]
    (described,) = call("DescribeClusters", clusters=[name])["clusters"]
    assert described["tags"] == TAGS and described["configuration"] == configuration and described["settings"] == [setting]
    call("ListClusters", maxResults=100)
    call("TagResource", resourceArn=arn, tags=[{"key": "more", "value": ""}])
    assert call("ListTagsForResource", resourceArn=arn)["tags"] == [*TAGS, {"key": "more", "value": ""}]
    call("UntagResource", resourceArn=arn, tagKeys=["more"])
    if "UpdateCluster" in THERE:
        call("UpdateCluster", cluster=name, configuration=configuration)
    if "UpdateClusterSettings" in THERE:
        changed = {**setting, "value": "enabled"}
        assert call("UpdateClusterSettings", cluster=name, settings=[changed])["cluster"]["settings"] == [changed]
    if "DescribeCapacityProviders" in THERE:
        call("DescribeCapacityProviders")
    if "PutClusterCapacityProviders" in THERE:
        call("PutClusterCapacityProviders", cluster=name, capacityProviders=[], defaultCapacityProviderStrategy=[])
    if "DiscoverPollEndpoint" in THERE:
        call("DiscoverPollEndpoint")


def definitions(call, name, busybox):
    container = {
        "name": "main", "image": busybox, "memory": 32, "memoryReservation": 16, "cpu": 10, "essential": True, "stopTimeout": 2,
        "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"],
        "environment": [{"name": "A", "value": "b"}], "dockerLabels": {"l": "v"},
        "ulimits": [{"name": "nofile", "softLimit": 100, "hardLimit": 200}],
        "healthCheck": {"command": ["CMD-SHELL", "true"], "interval": 5, "timeout": 2, "retries": 2, "startPeriod": 0},
        "mountPoints": [{"sourceVolume": "v", "containerPath": "/v", "readOnly": False}],
        "linuxParameters": {"initProcessEnabled": True},
    }
    for _ in range(3):
        call("RegisterTaskDefinition", family=name, networkMode="none", containerDefinitions=[container], volumes=[{"name": "v"}], tags=TAGS)
    described = call("DescribeTaskDefinition", taskDefinition=name)
    assert described["tags"] == TAGS and described["taskDefinition"]["revision"] == 3
    assert len(call("ListTaskDefinitions", familyPrefix=name)["taskDefinitionArns"]) == 3
    assert call("ListTaskDefinitionFamilies", familyPrefix=name)["families"] == [name]


def tasks(call, ecs, name):
    ran = call("RunTask", taskDefinition=name, tags=TAGS, enableECSManagedTags=True, overrides={"cpu": "64"}, startedBy=name, count=2)
    arns = [task["taskArn"] for task in ran["tasks"]]
    wait(ecs, "running", arns)
    call("DescribeTasks", tasks=[*arns, "0" * 32])
    call("GetTaskProtection", cluster="default", tasks=arns)
    call("UpdateTaskProtection", cluster="default", tasks=["0" * 32], protectionEnabled=True)
    (box, *_) = call("ListContainerInstances")["containerInstanceArns"]
    (started,) = call("StartTask", taskDefinition=name, containerInstances=[box])["tasks"]
    arns.append(started["taskArn"])
    if "SubmitTaskStateChange" in THERE:
        call("SubmitTaskStateChange", cluster="default", task=arns[0], status="RUNNING")
        call("SubmitContainerStateChange", cluster="default", task=arns[0], containerName="main", status="RUNNING")
        call("SubmitAttachmentStateChanges", cluster="default", attachments=[{"attachmentArn": "a", "status": "ATTACHED"}])
    call("DescribeContainerInstances", containerInstances=[box])
    for arn in arns:
        call("StopTask", task=arn, reason="enough")
    wait(ecs, "stopped", arns)
    assert set(call("ListTasks", startedBy=name, desiredStatus="STOPPED")["taskArns"]) == set(arns[:2])
    call("DescribeTasks", tasks=arns)


def instances(call, name):
    (box, *_) = call("ListContainerInstances", status="ACTIVE")["containerInstanceArns"]
    if "PutAttributes" in THERE:
        attribute = {"name": name, "value": "v", "targetType": "container-instance", "targetId": box}
        call("PutAttributes", attributes=[attribute])
        assert len(call("ListAttributes", targetType="container-instance", attributeName=name)["attributes"]) == 1
        call("DeleteAttributes", attributes=[{k: attribute[k] for k in ("name", "targetType", "targetId")}])
    if "UpdateContainerInstancesState" in THERE:
        for state in ("DRAINING", "ACTIVE"):
            (shown,) = call("UpdateContainerInstancesState", containerInstances=[box], status=state)["containerInstances"]
            assert shown["status"] == state


def settings(call):
    call("PutAccountSettingDefault", name="containerInsights", value="disabled")
    call("PutAccountSetting", name="containerInsights", value="enabled")
    assert call("ListAccountSettings", name="containerInsights")["settings"][0]["value"] == "enabled"
    call("DeleteAccountSetting", name="containerInsights")


def services(call, ecs, name):
    made = call("CreateService", serviceName=name, taskDefinition=name, desiredCount=1, tags=TAGS, propagateTags="SERVICE", enableECSManagedTags=True, serviceConnectConfiguration={"enabled": True, "namespace": name})
    arn = made["service"]["serviceArn"]
    waiter = ecs.get_waiter("services_stable")
    waiter.wait(services=[name], WaiterConfig={"Delay": 0.1, "MaxAttempts": PATIENCE * 10})
    # Only a roll-out that was whole can be gone back to.
    end = time.monotonic() + PATIENCE
    while call("DescribeServices", services=[name])["services"][0]["deployments"][0]["rolloutState"] != "COMPLETED":
        assert time.monotonic() < end, "the first roll-out does not end"
        time.sleep(0.1)
    (described,) = call("DescribeServices", services=[name, "nothing"])["services"]
    assert described["serviceArn"] == arn and described["tags"] == TAGS
    assert arn in call("ListServices", maxResults=100)["serviceArns"]
    assert call("ListServicesByNamespace", namespace=name)["serviceArns"] == [arn]
    (task,) = call("ListTasks", serviceName=name)["taskArns"]
    (shown,) = call("DescribeTasks", tasks=[task])["tasks"]
    tags = {tag["key"]: tag["value"] for tag in shown["tags"]}
    assert tags == {"k": "v", "aws:ecs:clusterName": "default", "aws:ecs:serviceName": name}
    call("UpdateTaskProtection", cluster="default", tasks=[task], protectionEnabled=True, expiresInMinutes=5)
    call("UpdateTaskProtection", cluster="default", tasks=[task], protectionEnabled=False)
    call("UpdateService", service=name, desiredCount=2)
    # With no task to spare and no room for another one (two are 101 % of two, rounded down), this roll-out is under way until it is stopped.
    stuck = {"minimumHealthyPercent": 100, "maximumPercent": 101}
    call("UpdateService", service=name, taskDefinition=f"{name}:2", deploymentConfiguration=stuck)
    (deployment, *_) = call("ListServiceDeployments", service=name)["serviceDeployments"]
    call("StopServiceDeployment", serviceDeploymentArn=deployment["serviceDeploymentArn"])
    waiter.wait(services=[name], WaiterConfig={"Delay": 0.1, "MaxAttempts": PATIENCE * 10})
    (described,) = call("DescribeServiceDeployments", serviceDeploymentArns=[deployment["serviceDeploymentArn"]])["serviceDeployments"]
    call("DescribeServiceRevisions", serviceRevisionArns=[described["targetServiceRevision"]["arn"]])
    call("DeleteService", service=name, force=True)
    ecs.get_waiter("services_inactive").wait(services=[name], WaiterConfig={"Delay": 0.1, "MaxAttempts": PATIENCE * 10})


def task_definitions_end(call, name):
    for revision in (1, 2, 3):
        call("DeregisterTaskDefinition", taskDefinition=f"{name}:{revision}")
    call("DeleteTaskDefinitions", taskDefinitions=[f"{name}:1", f"{name}:9"])
