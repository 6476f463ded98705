"""Every operation of the model answers; those that are not there yet say so with an exception of the model."""

import pytest
from botocore import xform_name

import inputs
from inputs import OPERATIONS

THERE = {
    "CreateCluster", "DescribeClusters", "ListClusters", "DeleteCluster", "UpdateCluster", "UpdateClusterSettings",
    "PutClusterCapacityProviders", "DescribeCapacityProviders",
    "RegisterTaskDefinition", "DescribeTaskDefinition", "DeregisterTaskDefinition", "DeleteTaskDefinitions",
    "ListTaskDefinitions", "ListTaskDefinitionFamilies",
    "RunTask", "StartTask", "StopTask", "DescribeTasks", "ListTasks",
    "DescribeContainerInstances", "ListContainerInstances", "GetTaskProtection", "UpdateTaskProtection",
    "RegisterContainerInstance", "DeregisterContainerInstance", "UpdateContainerInstancesState", "UpdateContainerAgent",
    "SubmitTaskStateChange", "SubmitContainerStateChange", "SubmitAttachmentStateChanges",
    "DiscoverPollEndpoint", "PutAttributes", "DeleteAttributes", "ListAttributes",
    "CreateService", "UpdateService", "DeleteService", "DescribeServices", "ListServices", "ListServicesByNamespace",
    "ListServiceDeployments", "DescribeServiceDeployments", "StopServiceDeployment", "DescribeServiceRevisions",
    "TagResource", "UntagResource", "ListTagsForResource",
    "ListAccountSettings", "PutAccountSetting", "PutAccountSettingDefault", "DeleteAccountSetting",
}
EMPTY = {
    "ListGateways": "gateways",
    "ListGatewayRoutes": "gatewayRoutes",
    "ListGatewayClusterAssociations": "gatewayClusterAssociations",
    "ListDaemons": "daemonSummariesList",
    "ListDaemonTaskDefinitions": "daemonTaskDefinitions",
}
NOT_FOUND = {
    "AssociateGatewayWithCluster": "GatewayNotFoundException",
    "DisassociateGatewayFromCluster": "GatewayNotFoundException",
    "DescribeGateway": "GatewayNotFoundException",
    "DescribeGatewayResources": "GatewayNotFoundException",
    "DeleteGateway": "GatewayNotFoundException",
    "UpdateGateway": "GatewayNotFoundException",
    "ExecuteCommand": "TargetNotConnectedException",
}


def test_the_model_has_the_operations_that_are_here():
    assert THERE | set(EMPTY) | set(NOT_FOUND) <= set(OPERATIONS)


@pytest.mark.parametrize("operation", sorted(EMPTY))
def test_lists_of_what_cannot_exist_are_empty(ecs, operation):
    answer = getattr(ecs, xform_name(operation))()
    assert answer[EMPTY[operation]] == []


@pytest.mark.parametrize("operation", sorted(set(OPERATIONS) - THERE - set(EMPTY)))
def test_what_is_not_there_yet_says_so(refused, operation):
    model = inputs.model(operation)
    code, message, status = refused(xform_name(operation), **inputs.smallest(model.input_shape))
    assert status == 400
    assert operation in message
    if operation in NOT_FOUND:
        assert code == NOT_FOUND[operation]
        return
    modelled = "UnsupportedFeatureException" in {e.name for e in model.error_shapes}
    assert code == ("UnsupportedFeatureException" if modelled else "ClientException")


def test_services_are_missing_as_waiters_expect(agent, ecs, refused):
    answer = ecs.describe_services(services=["web"])
    assert answer["services"] == []
    arn = f"arn:aws:ecs:{agent.region}:{agent.account}:service/default/web"
    assert answer["failures"] == [{"arn": arn, "reason": "MISSING"}]
    assert refused("describe_services", cluster="nowhere", services=["web"])[0] == "ClusterNotFoundException"
    assert refused("describe_services", services=[])[1] == "Services cannot be empty."
