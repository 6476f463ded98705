"""Every operation of the model answers; those that are not there yet say so with an exception of the model."""

import boto3
import pytest
from botocore import xform_name

CLIENT = boto3.client("ecs", region_name="x", aws_access_key_id="x", aws_secret_access_key="x")
OPERATIONS = CLIENT.meta.service_model.operation_names

THERE = {
    "CreateCluster", "DescribeClusters", "ListClusters", "DeleteCluster",
    "RegisterTaskDefinition", "DescribeTaskDefinition", "DeregisterTaskDefinition", "DeleteTaskDefinitions",
    "ListTaskDefinitions", "ListTaskDefinitionFamilies",
    "RunTask", "StartTask", "StopTask", "DescribeTasks", "ListTasks",
    "DescribeContainerInstances", "ListContainerInstances", "GetTaskProtection", "UpdateTaskProtection",
    "TagResource", "UntagResource", "ListTagsForResource",
    "ListAccountSettings", "PutAccountSetting", "PutAccountSettingDefault", "DeleteAccountSetting",
}
EMPTY = {
    "ListServices": "serviceArns",
    "ListGateways": "gateways",
    "ListGatewayRoutes": "gatewayRoutes",
    "ListGatewayClusterAssociations": "gatewayClusterAssociations",
    "ListDaemons": "daemonSummariesList",
    "ListDaemonTaskDefinitions": "daemonTaskDefinitions",
}
NOT_FOUND = {
    "UpdateService": "ServiceNotFoundException",
    "DeleteService": "ServiceNotFoundException",
    "DescribeGateway": "GatewayNotFoundException",
    "DescribeGatewayResources": "GatewayNotFoundException",
    "DeleteGateway": "GatewayNotFoundException",
    "UpdateGateway": "GatewayNotFoundException",
    "ListServicesByNamespace": "NamespaceNotFoundException",
}


def smallest(shape):
    """The least input that has every required member."""
    if shape.type_name == "structure" and shape.is_tagged_union:
        name = next(iter(shape.members))
        return {name: smallest(shape.members[name])}
    if shape.type_name == "structure":
        return {name: smallest(shape.members[name]) for name in shape.required_members}
    if shape.type_name == "list":
        return [smallest(shape.member)]
    if shape.type_name == "map":
        return {}
    if shape.type_name == "string":
        return shape.enum[0] if shape.enum else "default"
    if shape.type_name == "boolean":
        return False
    return max(1, shape.metadata.get("min", 1))


def test_the_model_has_the_operations_that_are_here():
    assert THERE | set(EMPTY) | set(NOT_FOUND) <= set(OPERATIONS)


@pytest.mark.parametrize("operation", sorted(EMPTY))
def test_lists_of_what_cannot_exist_are_empty(ecs, operation):
    answer = getattr(ecs, xform_name(operation))()
    assert answer[EMPTY[operation]] == []


@pytest.mark.parametrize("operation", sorted(set(OPERATIONS) - THERE - set(EMPTY) - {"DescribeServices"}))
def test_what_is_not_there_yet_says_so(refused, operation):
    model = CLIENT.meta.service_model.operation_model(operation)
    code, message, status = refused(xform_name(operation), **smallest(model.input_shape))
    assert status == 400
    if operation in NOT_FOUND:
        assert code == NOT_FOUND[operation]
        return
    modelled = "UnsupportedFeatureException" in {e.name for e in model.error_shapes}
    assert code == ("UnsupportedFeatureException" if modelled else "ClientException")
    assert operation in message


def test_services_are_missing_as_waiters_expect(ecs, refused):
    answer = ecs.describe_services(services=["web"])
    assert answer["services"] == []
    assert answer["failures"] == [{"arn": "arn:aws:ecs:local:000000000000:service/default/web", "reason": "MISSING"}]
    assert refused("describe_services", cluster="nowhere", services=["web"])[0] == "ClusterNotFoundException"
    assert refused("describe_services", services=[])[1] == "Services cannot be empty."
