"""Every error of every operation: a request that provokes it, or why none can.

`PROVOKED[operation][error]` is a body, or a function from the `World` of test_errors.py to one. `UNREACHABLE` has the
reasons, by operation and error or by error alone. What follows from the model (a required member left out, a cluster
that is nowhere) is not listed: test_errors.py makes it.
"""

NOTHING = "0" * 32
ATTACHMENT = "arn:aws:ecs:local:000000000000:attachment/00000000-0000-4000-8000-000000000000"
SERVICE_DEPLOYMENT = "arn:aws:ecs:local:000000000000:service-deployment/default/nothing/abcdefghijklmnopqrstu"

# Bodies that are right but for what is provoked, where the smallest input of the model is not.
RIGHT = {
    "RunTask": lambda w: {"taskDefinition": w.definition},
    "StartTask": lambda w: {"taskDefinition": w.definition, "containerInstances": [NOTHING]},
    "StopTask": {"task": NOTHING},
    "DescribeTasks": {"tasks": [NOTHING]},
    "GetTaskProtection": {"tasks": [NOTHING]},
    "UpdateTaskProtection": {"tasks": [NOTHING], "protectionEnabled": True},
    "DescribeContainerInstances": {"containerInstances": [NOTHING]},
    "UpdateClusterSettings": {"cluster": "default", "settings": [{"name": "containerInsights", "value": "disabled"}]},
    "PutAttributes": {"attributes": [{"name": "a", "targetType": "container-instance", "targetId": NOTHING}]},
    "DeleteAttributes": {"attributes": [{"name": "a", "targetType": "container-instance", "targetId": NOTHING}]},
    "UpdateContainerInstancesState": {"containerInstances": [NOTHING], "status": "ACTIVE"},
    "UpdateContainerAgent": {"containerInstance": NOTHING},
    "DeregisterContainerInstance": {"containerInstance": NOTHING},
    "CreateService": lambda w: {"serviceName": w.name(), "taskDefinition": w.definition, "desiredCount": 0},
    "SubmitTaskStateChange": {"task": NOTHING},
    "SubmitContainerStateChange": {"task": NOTHING, "containerName": "main"},
    "SubmitAttachmentStateChanges": {"attachments": [{"attachmentArn": ATTACHMENT, "status": "ATTACHED"}]},
    "UpdateService": {"service": "nothing"},
    "DeleteService": {"service": "nothing"},
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


def many_attributes(w):
    attributes = [{"name": f"a{i}", "targetType": "container-instance", "targetId": w.box} for i in range(11)]
    w.ok("PutAttributes", {"attributes": attributes[:10]})
    w.afterwards("DeleteAttributes", {"attributes": attributes[:10]})
    return {"attributes": attributes[10:]}


def pool_in_use(w):
    """Only a simulated instance can be told that it is in a pool."""
    if w.target == "agent":
        return None
    pool = {"name": "coracle.capacity-provider", "value": "pool"}
    cluster = w.name()
    w.ok("CreateCluster", {"clusterName": cluster})
    w.ok("RegisterContainerInstance", {"cluster": cluster, "attributes": [pool]})
    w.ok("PutClusterCapacityProviders", {"cluster": cluster, "capacityProviders": ["pool"], "defaultCapacityProviderStrategy": []})
    w.ok("RunTask", {"cluster": cluster, "taskDefinition": w.sleeper, "capacityProviderStrategy": [{"capacityProvider": "pool"}]})
    return {"cluster": cluster, "capacityProviders": [], "defaultCapacityProviderStrategy": []}


def with_a_service(w):
    w.service()
    return {"cluster": w.box_cluster}


def inactive_service(w):
    name = w.service()
    w.ok("DeleteService", {"service": name})
    w.until_inactive(name)
    return {"service": name, "desiredCount": 1}


def deployment_that_is_done(w):
    name = w.service()
    w.ok("DeleteService", {"service": name})
    w.until_inactive(name)
    (deployment, *_) = w.ok("ListServiceDeployments", {"service": name})["serviceDeployments"]
    return {"serviceDeploymentArn": deployment["serviceDeploymentArn"]}


def of_the_agent(w):
    return {} if w.target == "agent" else None


def many_tags(w):
    arn = w.ok("CreateCluster", {"clusterName": w.name()})["cluster"]["clusterArn"]
    w.ok("TagResource", {"resourceArn": arn, "tags": [{"key": f"a{i}", "value": ""} for i in range(30)]})
    return {"resourceArn": arn, "tags": [{"key": f"b{i}", "value": ""} for i in range(21)]}


PROVOKED = {
    "DeleteCluster": {
        "ClusterContainsServicesException": with_a_service,
        "ClusterContainsContainerInstancesException": box_without_tasks,
        "ClusterContainsTasksException": box_with_tasks,
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
    "RegisterContainerInstance": {
        "ClientException": of_the_agent,
        "ClusterNotFoundException": lambda w: None if w.target == "agent" else {"cluster": "nowhere"},
    },
    "DiscoverPollEndpoint": {"ClientException": {"containerInstance": NOTHING}},
    "PutAttributes": {
        "AttributeLimitExceededException": many_attributes,
        "TargetNotFoundException": {"attributes": [{"name": "a", "targetType": "container-instance", "targetId": NOTHING}]},
    },
    "DeleteAttributes": {
        "TargetNotFoundException": {"attributes": [{"name": "a", "targetType": "container-instance", "targetId": NOTHING}]},
    },
    "PutClusterCapacityProviders": {"ResourceInUseException": pool_in_use},
    "UpdateContainerAgent": {"NoUpdateAvailableException": lambda w: {"containerInstance": w.box}},
    "CreateService": {
        "ClientException": {"serviceName": "s", "taskDefinition": "nothing", "desiredCount": 1},
        "PlatformUnknownException": lambda w: {
            "serviceName": w.name(), "taskDefinition": w.definition, "desiredCount": 1, "launchType": "MANAGED_INSTANCES",
        },
        "UnsupportedFeatureException": lambda w: {
            "serviceName": w.name(), "taskDefinition": w.definition, "desiredCount": 1,
            "loadBalancers": [{"targetGroupArn": "t", "containerName": "main", "containerPort": 80}],
        },
    },
    "UpdateService": {
        "ClientException": lambda w: {"service": w.service(), "taskDefinition": "nothing"},
        "PlatformUnknownException": lambda w: {"service": w.service(), "platformVersion": "9.9.9"},
        "ServiceNotActiveException": inactive_service,
        "ServiceNotFoundException": {"service": "nothing", "desiredCount": 1},
        "UnsupportedFeatureException": lambda w: {
            "service": w.service(), "loadBalancers": [{"targetGroupArn": "t", "containerName": "main", "containerPort": 80}],
        },
    },
    "DeleteService": {"ServiceNotFoundException": {"service": "nothing"}},
    "ListServiceDeployments": {"ServiceNotFoundException": {"service": "nothing"}},
    "ListServicesByNamespace": {"NamespaceNotFoundException": {"namespace": "nothing"}},
    "StopServiceDeployment": {
        "ConflictException": deployment_that_is_done,
        "ServiceDeploymentNotFoundException": {"serviceDeploymentArn": SERVICE_DEPLOYMENT},
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
    ("CreateCluster", "NamespaceNotFoundException"): "a namespace is made where it is named",
    ("UpdateCluster", "NamespaceNotFoundException"): "a namespace is made where it is named",
    ("DescribeCapacityProviders", "UnsupportedFeatureException"): "pools of boxes are there",
    ("UpdateClusterSettings", "UpdateInProgressException"): "every change of a cluster is done when it is answered",
    ("PutClusterCapacityProviders", "UpdateInProgressException"): "every change of a cluster is done when it is answered",
    ("PutClusterCapacityProviders", "ResourceInUseException"): "the box of an agent is in a pool by its configuration alone",
    ("UpdateContainerAgent", "UpdateInProgressException"): "agents are not updated from here",
    ("UpdateContainerAgent", "MissingVersionException"): "agents are not updated from here",
    ("RegisterContainerInstance", "ClientException"): "a simulated instance is what the request says",
    ("RegisterContainerInstance", "ClusterNotFoundException"): "an agent registers its box itself, and refuses any other",
    ("CreateService", "NamespaceNotFoundException"): "a namespace is made where it is named",
    ("UpdateService", "NamespaceNotFoundException"): "a namespace is made where it is named",
    ("CreateService", "PlatformTaskDefinitionIncompatibilityException"): "there is one platform version, the box",
    ("UpdateService", "PlatformTaskDefinitionIncompatibilityException"): "there is one platform version, the box",
    ("DescribeServiceDeployments", "ClusterNotFoundException"): AS_A_FAILURE,
    ("DescribeServiceDeployments", "ServiceNotFoundException"): AS_A_FAILURE,
    ("DescribeServiceDeployments", "UnsupportedFeatureException"): "service deployments are there",
    ("DescribeServiceRevisions", "ClusterNotFoundException"): AS_A_FAILURE,
    ("DescribeServiceRevisions", "ServiceNotFoundException"): AS_A_FAILURE,
    ("DescribeServiceRevisions", "UnsupportedFeatureException"): "service revisions are there",
    ("ListServiceDeployments", "UnsupportedFeatureException"): "service deployments are there",
    ("StopServiceDeployment", "UnsupportedFeatureException"): "a deployment can be stopped whatever it is",
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
