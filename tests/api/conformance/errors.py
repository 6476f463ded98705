"""Every error of every operation: a request that provokes it, or why none can.

`PROVOKED[operation][error]` is a body, or a function from the `World` of test_errors.py to one. `UNREACHABLE` has the
reasons, by operation and error or by error alone. What follows from the model (a required member left out, a cluster
that is nowhere) is not listed: test_errors.py makes it.
"""

NOTHING = "0" * 32


def on(instance, name="a", **more):
    """An attribute of a container instance."""
    return {"name": name, "targetType": "container-instance", "targetId": instance, **more}


# Bodies that are right but for what is provoked, where the smallest input of the model is not.
RIGHT = {
    "RunTask": lambda w: {"taskDefinition": w.definition},
    "StartTask": lambda w: {"taskDefinition": w.definition, "containerInstances": [NOTHING]},
    "StopTask": {"task": NOTHING},
    "DescribeTasks": {"tasks": [NOTHING]},
    "GetTaskProtection": {"tasks": [NOTHING]},
    "UpdateTaskProtection": {"tasks": [NOTHING], "protectionEnabled": True},
    "DescribeContainerInstances": {"containerInstances": [NOTHING]},
    "UpdateClusterSettings": {
        "cluster": "default", "settings": [{"name": "containerInsights", "value": "disabled"}],
    },
    "UpdateContainerInstancesState": {"containerInstances": [NOTHING], "status": "ACTIVE"},
    "DeregisterContainerInstance": {"containerInstance": NOTHING},
    "UpdateContainerAgent": {"containerInstance": NOTHING},
    "PutAttributes": {"attributes": [on(NOTHING)]},
    "DeleteAttributes": {"attributes": [on(NOTHING)]},
    "SubmitTaskStateChange": {"task": NOTHING},
    "SubmitContainerStateChange": {"task": NOTHING, "containerName": "main"},
    "SubmitAttachmentStateChanges": {
        "attachments": [{"attachmentArn": "arn:aws:ecs:local:000000000000:attachment/x", "status": "ATTACHED"}],
    },
    "CreateService": lambda w: {"serviceName": w.name(), "taskDefinition": w.definition, "desiredCount": 0},
    "UpdateService": {"service": "nothing"},
    "DeleteService": {"service": "nothing"},
    "StopServiceDeployment": {"serviceDeploymentArn": "arn:aws:ecs:local:000000000000:service-deployment/a/b/c"},
}

A_CLUSTER = "arn:aws:ecs:local:000000000000:cluster/default"
TOKEN = {"nextToken": "none"}


def token_used(w):
    """A client token is good for one request only."""
    token = w.name()
    w.ok("RunTask", {"taskDefinition": w.definition, "cluster": w.box_cluster, "clientToken": token, "count": 1})
    return {"taskDefinition": w.definition, "cluster": w.box_cluster, "clientToken": token, "count": 2}


def box_without_tasks(w):
    w.quiet()
    return {"cluster": w.box_cluster}


def box_with_tasks(w):
    w.ok("RunTask", {"taskDefinition": w.sleeper, "cluster": w.box_cluster})
    return {"cluster": w.box_cluster}


def cluster_with_service(w):
    name = w.name()
    w.ok("CreateCluster", {"clusterName": name})
    w.ok("CreateService", {"cluster": name, "serviceName": name, "taskDefinition": w.definition, "desiredCount": 0})
    return {"cluster": name}


def many_tags(w):
    arn = w.ok("CreateCluster", {"clusterName": w.name()})["cluster"]["clusterArn"]
    w.ok("TagResource", {"resourceArn": arn, "tags": [{"key": f"a{i}", "value": ""} for i in range(30)]})
    return {"resourceArn": arn, "tags": [{"key": f"b{i}", "value": ""} for i in range(21)]}


A_ROLL_OUT = "arn:aws:ecs:local:000000000000:service-deployment/default/nothing/0"


def a_service(w, **more):
    """A service without tasks, in a cluster of its own."""
    cluster = w.ok("CreateCluster", {"clusterName": w.name()})["cluster"]["clusterName"]
    service = {"serviceName": "s", "cluster": cluster, "taskDefinition": w.definition, "desiredCount": 0, **more}
    return w.ok("CreateService", service)["service"]


def on_fargate(w):
    network = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}
    return a_service(w, taskDefinition=w.serverless, launchType="FARGATE", networkConfiguration=network)


def named(service, **more):
    return {"service": service["serviceName"], "cluster": service["clusterArn"], **more}


def service_that_is_gone(w):
    service = a_service(w)
    w.ok("DeleteService", named(service))
    return named(service)


def roll_out_that_is_over(w):
    """A service without tasks is whole at once; a request to stop its roll-out comes too late, or a second time."""
    arn = a_service(w)["currentServiceDeployment"]
    status, _, content = w.agent.call("StopServiceDeployment", {"serviceDeploymentArn": arn})
    assert status == 200 or content["__type"] == "ConflictException", content
    return {"serviceDeploymentArn": arn}


def too_many_attributes(w):
    box = w.box()
    ten = {"cluster": w.box_cluster, "attributes": [on(box, f"conform{i}") for i in range(10)]}
    w.ok("PutAttributes", ten)
    w.undo.append(("DeleteAttributes", ten))
    return {"cluster": w.box_cluster, "attributes": [on(box, "conform10")]}


def pool_in_use(w):
    """A pool that a task was placed in stays with its cluster."""
    pool = on(w.box(), "coracle.capacity-provider", value="conform")
    attribute = {"cluster": w.box_cluster, "attributes": [pool]}
    put = {"cluster": w.box_cluster, "capacityProviders": ["conform"], "defaultCapacityProviderStrategy": []}
    strategy = [{"capacityProvider": "conform", "weight": 1}]
    # Those of `too_many_attributes` are as many as there may be.
    w.ok("DeleteAttributes", {"cluster": w.box_cluster, "attributes": [on(w.box(), "conform0")]})
    w.ok("PutAttributes", attribute)
    w.undo.append(("DeleteAttributes", attribute))
    w.ok("PutClusterCapacityProviders", put)
    w.undo.append(("PutClusterCapacityProviders", {**put, "capacityProviders": []}))
    run = {"cluster": w.box_cluster, "taskDefinition": w.sleeper, "capacityProviderStrategy": strategy}
    assert w.ok("RunTask", run)["failures"] == []
    return {**put, "capacityProviders": []}


PROVOKED = {
    "CreateService": {
        "ClientException": {"serviceName": "s", "taskDefinition": "nothing", "desiredCount": 0},
        "InvalidParameterException": lambda w: {"serviceName": "s", "taskDefinition": w.definition},
        "PlatformUnknownException": lambda w: {
            "serviceName": "s", "taskDefinition": w.definition, "desiredCount": 0, "launchType": "MANAGED_INSTANCES",
        },
        "UnsupportedFeatureException": lambda w: {
            "serviceName": "s", "taskDefinition": w.definition, "desiredCount": 0,
            "deploymentController": {"type": "CODE_DEPLOY"},
        },
    },
    "UpdateService": {
        "ClientException": lambda w: named(a_service(w), taskDefinition="nothing"),
        "InvalidParameterException": lambda w: named(a_service(w), desiredCount=-1),
        "PlatformUnknownException": lambda w: named(on_fargate(w), platformVersion="0.1"),
        "ServiceNotActiveException": service_that_is_gone,
        "ServiceNotFoundException": {"service": "nothing"},
        "UnsupportedFeatureException": lambda w: named(a_service(w), deploymentController={"type": "EXTERNAL"}),
    },
    "DeleteService": {"ServiceNotFoundException": {"service": "nothing"}},
    "ListServicesByNamespace": {"NamespaceNotFoundException": {"namespace": "nothing"}},
    "ListServiceDeployments": {"ServiceNotFoundException": {"service": "nothing"}},
    "StopServiceDeployment": {
        "ConflictException": roll_out_that_is_over,
        "ServiceDeploymentNotFoundException": {"serviceDeploymentArn": A_ROLL_OUT},
    },
    "DeleteCluster": {
        "ClusterContainsContainerInstancesException": box_without_tasks,
        "ClusterContainsTasksException": box_with_tasks,
        "ClusterContainsServicesException": cluster_with_service,
        "ClusterNotFoundException": {"cluster": "nowhere"},
    },
    "RegisterTaskDefinition": {"ClientException": {"family": "a b", "containerDefinitions": []}},
    "DescribeTaskDefinition": {"ClientException": {"taskDefinition": "nothing"}},
    "DeregisterTaskDefinition": {"ClientException": {"taskDefinition": "nothing:1"}},
    "RunTask": {
        "ClientException": {"taskDefinition": "nothing"},
        "ConflictException": token_used,
        "PlatformUnknownException": lambda w: {"taskDefinition": w.definition, "launchType": "MANAGED_INSTANCES"},
        "UnsupportedFeatureException": lambda w: {
            "taskDefinition": w.definition,
            "volumeConfigurations": [{"name": "v", "managedEBSVolume": {"roleArn": "r"}}],
        },
    },
    "StartTask": {
        "ClientException": {"taskDefinition": "nothing", "containerInstances": [NOTHING]},
        "UnsupportedFeatureException": lambda w: {
            "taskDefinition": w.definition, "containerInstances": [NOTHING],
            "volumeConfigurations": [{"name": "v", "managedEBSVolume": {"roleArn": "r"}}],
        },
    },
    "PutAttributes": {
        "TargetNotFoundException": {"attributes": [on(NOTHING)]},
        "AttributeLimitExceededException": too_many_attributes,
    },
    "DeleteAttributes": {"TargetNotFoundException": {"attributes": [on(NOTHING)]}},
    "PutClusterCapacityProviders": {"ResourceInUseException": pool_in_use},
    "RegisterContainerInstance": {"ClientException": {"instanceIdentityDocument": "{"}},
    "DiscoverPollEndpoint": {"ClientException": {"containerInstance": NOTHING}},
    "UpdateContainerAgent": {
        "NoUpdateAvailableException": lambda w: {"cluster": w.box_cluster, "containerInstance": w.box()},
    },
    "ListTasks": {"ServiceNotFoundException": {"serviceName": "nothing"}},
    "TagResource": {
        "ClusterNotFoundException": {"resourceArn": f"{A_CLUSTER}-is-nowhere", "tags": [{"key": "k", "value": "v"}]},
        "LimitExceededException": many_tags,
    },
    "UntagResource": {"ClusterNotFoundException": {"resourceArn": f"{A_CLUSTER}-is-nowhere", "tagKeys": ["k"]}},
    "ListTagsForResource": {"ClusterNotFoundException": {"resourceArn": f"{A_CLUSTER}-is-nowhere"}},
}

# Operations without a required member and without a cluster.
INVALID = {
    "CreateCluster": {"clusterName": "not a name"},
    "DescribeClusters": {"clusters": ["nothing"] * 101},
    "ListClusters": TOKEN,
    "ListTaskDefinitions": TOKEN,
    "ListTaskDefinitionFamilies": TOKEN,
    "ListAccountSettings": TOKEN,
    "DescribeCapacityProviders": TOKEN,
}

IN_THE_INPUT = "what is wrong with its input is an InvalidParameterException"
AS_A_FAILURE = "what is not there is in `failures`, as MISSING"

UNREACHABLE = {
    "AccessDeniedException": "there is one key, its owner may do everything; a wrong signature has errors of its own",
    "ServerException": "comes when the disk does not take a change; tests/store_faults.rs has that",
    "ClientException": IN_THE_INPUT,
    ("RegisterTaskDefinition", "LimitExceededException"): "after 2^31 revisions of one family",
    ("DeleteCluster", "UpdateInProgressException"): "every change of a cluster is done when it is answered",
    ("DeleteCluster", "ClusterContainsCapacityProviderException"): "a capacity provider of the cluster goes with it",
    ("UpdateCluster", "NamespaceNotFoundException"): "a namespace is made where it is named",
    ("UpdateClusterSettings", "UpdateInProgressException"): "every change of a cluster is done when it is answered",
    ("PutClusterCapacityProviders", "UpdateInProgressException"): "every change of a cluster is done when it is answered",
    ("DescribeCapacityProviders", "UnsupportedFeatureException"): "capacity providers are there",
    ("UpdateContainerAgent", "MissingVersionException"): "every agent tells its version",
    ("UpdateContainerAgent", "UpdateInProgressException"): "an agent is updated on its box",
    ("CreateCluster", "NamespaceNotFoundException"): "a namespace is made where it is named",
    ("CreateService", "NamespaceNotFoundException"): "a namespace is made where it is named",
    ("UpdateService", "NamespaceNotFoundException"): "a namespace is made where it is named",
    ("CreateService", "PlatformTaskDefinitionIncompatibilityException"): "there is one platform version, the box",
    ("UpdateService", "PlatformTaskDefinitionIncompatibilityException"): "there is one platform version, the box",
    ("DescribeServiceDeployments", "ServiceNotFoundException"): AS_A_FAILURE,
    ("DescribeServiceDeployments", "ClusterNotFoundException"): AS_A_FAILURE,
    ("DescribeServiceRevisions", "ServiceNotFoundException"): AS_A_FAILURE,
    ("DescribeServiceRevisions", "ClusterNotFoundException"): AS_A_FAILURE,
    ("ListServiceDeployments", "UnsupportedFeatureException"): "roll-outs are there",
    ("DescribeServiceDeployments", "UnsupportedFeatureException"): "roll-outs are there",
    ("DescribeServiceRevisions", "UnsupportedFeatureException"): "revisions are there",
    ("StopServiceDeployment", "UnsupportedFeatureException"): "every roll-out can be stopped",
    ("RunTask", "BlockedException"): "no account is ever blocked",
    ("RunTask", "PlatformTaskDefinitionIncompatibilityException"): "there is one platform version, the box",
    ("StartTask", "NamespaceNotFoundException"): "tasks that are started by hand are in no namespace",
    ("GetTaskProtection", "ResourceNotFoundException"): AS_A_FAILURE,
    ("UpdateTaskProtection", "ResourceNotFoundException"): AS_A_FAILURE,
    ("GetTaskProtection", "UnsupportedFeatureException"): "protection is there",
    ("UpdateTaskProtection", "UnsupportedFeatureException"): "protection is there",
    ("TagResource", "ResourceNotFoundException"): "an ARN of nothing is an InvalidParameterException, as ECS has it",
    ("UntagResource", "ResourceNotFoundException"): "an ARN of nothing is an InvalidParameterException, as ECS has it",
}
