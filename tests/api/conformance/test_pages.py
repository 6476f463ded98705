"""Every operation of the model that has pages: together they are the whole, and a token is good for nothing else."""

import pytest

import inputs
from conftest import wait
from test_unavailable import THERE

PAGED = [name for name in inputs.OPERATIONS if "nextToken" in inputs.model(name).input_shape.members]
NOT_A_TOKEN = ["x", "null", "W10", "AAAA", "🦀", "A" * 10_000]
ENOUGH = 4


def items_of(operation):
    """The one list of the output; what could not be described is not meant."""
    members = inputs.model(operation).output_shape.members.items()
    (name,) = [name for name, shape in members if shape.type_name == "list" and name != "failures"]
    return name


class Filler:
    """Makes at least ENOUGH of what an operation lists, where the box can have so many; returns the filters to find them."""

    def __init__(self, ecs, name, define):
        self.ecs, self.name, self.define = ecs, name, define

    def ListClusters(self):
        for i in range(ENOUGH):
            self.ecs.create_cluster(clusterName=f"{self.name}-{i}")
        return {}

    def ListTaskDefinitions(self):
        for _ in range(ENOUGH):
            self.define()
        return {"familyPrefix": self.name}

    def ListTaskDefinitionFamilies(self):
        for i in range(ENOUGH):
            self.define(family=f"{self.name}-{i}")
        return {"familyPrefix": f"{self.name}-"}

    def ListTasks(self):
        definition = self.define()["taskDefinitionArn"]
        tasks = self.ecs.run_task(taskDefinition=definition, count=ENOUGH, startedBy=self.name)["tasks"]
        for task in tasks:
            self.ecs.stop_task(task=task["taskArn"])
        wait(self.ecs, "stopped", [task["taskArn"] for task in tasks])
        return {"startedBy": self.name, "desiredStatus": "STOPPED"}

    def ListContainerInstances(self):
        return {}

    def ListAccountSettings(self):
        return {"effectiveSettings": True}

    def ListAttributes(self):
        # Those that every box tells of itself.
        return {"targetType": "container-instance"}

    def _services(self, **more):
        definition = self.define()["taskDefinitionArn"]
        cluster = self.ecs.create_cluster(clusterName=f"pages-of-{self.name}")["cluster"]["clusterName"]
        for i in range(ENOUGH):
            self.ecs.create_service(cluster=cluster, serviceName=f"{self.name}-{i}", taskDefinition=definition, desiredCount=0, **more)
        return cluster

    def ListServices(self):
        return {"cluster": self._services()}

    def ListServiceDeployments(self):
        cluster = self._services()
        for _ in range(ENOUGH):
            self.ecs.update_service(cluster=cluster, service=f"{self.name}-0", forceNewDeployment=True)
        return {"cluster": cluster, "service": f"{self.name}-0"}

    def ListServicesByNamespace(self):
        self._services(serviceConnectConfiguration={"enabled": True, "namespace": self.name})
        return {"namespace": self.name}

    def DescribeCapacityProviders(self):
        return {}


# Ten at most in a page of these.
SMALL = {"ListAccountSettings", "DescribeCapacityProviders"}
AT_LEAST = {"ListContainerInstances": 1, "ListAttributes": 3, "DescribeCapacityProviders": 0, "ListServiceDeployments": 1}


@pytest.mark.parametrize("operation", [name for name in PAGED if name in THERE])
def test_pages_are_the_whole(agent, ecs, name, define, operation):
    filters = getattr(Filler(ecs, name, define), operation)()
    member = items_of(operation)

    def page(**more):
        status, _, content = agent.call(operation, {**filters, **more})
        assert status == 200, content
        return content[member], content.get("nextToken")

    # The clusters of all tests may be more than a page.
    whole, token = page() if operation in SMALL else page(maxResults=100)
    while token:
        items, token = page(nextToken=token)
        whole += items
    assert len(whole) >= AT_LEAST.get(operation, ENOUGH)
    assert len({str(item) for item in whole}) == len(whole)

    for size in (1, 3):
        seen, token = [], None
        while True:
            items, token = page(maxResults=size, **({"nextToken": token} if token else {}))
            assert len(items) <= size
            seen += items
            if not token:
                break
            assert len(items) == size, "a page that is not the last is full"
            assert not any(item in token for item in items if isinstance(item, str)), "tokens tell nothing"
        assert seen == whole


@pytest.mark.parametrize("operation", [name for name in PAGED if name in THERE])
def test_a_token_of_another_list_is_none(agent, ecs, name, define, operation):
    ecs.create_cluster(clusterName=f"{name}-a")
    ecs.create_cluster(clusterName=f"{name}-b")
    foreign = agent.call("ListClusters", {"maxResults": 1})[2]["nextToken"]
    filters = getattr(Filler(ecs, name, define), operation)()
    tokens = NOT_A_TOKEN if operation == "ListClusters" else [*NOT_A_TOKEN, foreign]
    for token in tokens:
        status, _, content = agent.call(operation, {**filters, "nextToken": token})
        assert (status, content["__type"]) == (400, "InvalidParameterException"), token


@pytest.mark.parametrize("operation", [name for name in PAGED if name in THERE])
@pytest.mark.parametrize("size", [0, -1, 101])
def test_sizes_of_pages_are_bounded(agent, operation, size):
    least = inputs.smallest(inputs.model(operation).input_shape)
    status, _, content = agent.call(operation, {**least, "maxResults": size})
    # What is asked about may be missed first.
    missed = {"ListServiceDeployments": "ServiceNotFoundException", "ListServicesByNamespace": "NamespaceNotFoundException"}
    assert status == 400 and content["__type"] in ("InvalidParameterException", missed.get(operation)), content


def test_botocore_has_paginators_for_what_is_there(ecs):
    from botocore import xform_name

    for operation in set(PAGED) & THERE:
        if ecs.can_paginate(xform_name(operation)):
            paginator = ecs.get_paginator(xform_name(operation))
            assert [key.expression for key in paginator.result_keys] == [items_of(operation)]
