"""Capacity providers: pools of boxes, named by an attribute."""

import pytest

INVALID = "InvalidParameterException"


@pytest.fixture
def pool(ecs, name):
    """The name of the pool that the box is in during a test."""
    (box,) = ecs.list_container_instances()["containerInstanceArns"]
    attribute = {"name": "coracle.capacity-provider", "targetId": box}
    ecs.put_attributes(attributes=[{**attribute, "value": f"pool-{name}"}])
    yield f"pool-{name}"
    ecs.delete_attributes(attributes=[attribute])


def associate(ecs, cluster, names, strategy=()):
    answer = ecs.put_cluster_capacity_providers(
        cluster=cluster, capacityProviders=names, defaultCapacityProviderStrategy=list(strategy)
    )
    return answer["cluster"]


def test_a_pool_is_there_while_a_box_is_in_it(ecs, pool, cluster):
    arn = f"arn:aws:ecs:local:000000000000:capacity-provider/{pool}"
    shown = {"capacityProviderArn": arn, "name": pool, "status": "ACTIVE", "tags": []}
    assert shown in ecs.describe_capacity_providers()["capacityProviders"]
    assert ecs.describe_capacity_providers(capacityProviders=[arn])["capacityProviders"] == [shown]
    answer = ecs.describe_capacity_providers(capacityProviders=[pool, "FARGATE", "nothing"])
    assert [p["name"] for p in answer["capacityProviders"]] == [pool]
    assert [f["reason"] for f in answer["failures"]] == ["MISSING"] * 2
    assert ecs.describe_capacity_providers(cluster=cluster)["capacityProviders"] == []
    (box,) = ecs.describe_container_instances(
        containerInstances=ecs.list_container_instances()["containerInstanceArns"]
    )["containerInstances"]
    assert box["capacityProviderName"] == pool


def test_a_cluster_is_associated_with_pools(ecs, pool, cluster):
    strategy = [{"capacityProvider": pool, "weight": 2, "base": 1}]
    shown = associate(ecs, cluster, [pool], strategy)
    assert (shown["capacityProviders"], shown["defaultCapacityProviderStrategy"]) == ([pool], strategy)
    (described,) = ecs.describe_clusters(clusters=[cluster])["clusters"]
    assert described["defaultCapacityProviderStrategy"] == strategy
    found = ecs.describe_capacity_providers(cluster=cluster)["capacityProviders"]
    assert [p["name"] for p in found] == [pool]
    plain = associate(ecs, cluster, [pool], [{"capacityProvider": pool}])["defaultCapacityProviderStrategy"]
    assert plain == [{"capacityProvider": pool, "weight": 0, "base": 0}]
    assert associate(ecs, cluster, [])["capacityProviders"] == []


def test_a_cluster_is_created_with_pools(ecs, pool, name, refused):
    strategy = [{"capacityProvider": pool, "weight": 1, "base": 0}]
    arguments = {"clusterName": name, "capacityProviders": [pool], "defaultCapacityProviderStrategy": strategy}
    made = ecs.create_cluster(**arguments)["cluster"]
    assert (made["capacityProviders"], made["defaultCapacityProviderStrategy"]) == ([pool], strategy)
    assert ecs.create_cluster(**arguments)["cluster"]["clusterArn"] == made["clusterArn"]


def test_what_is_refused(ecs, pool, cluster, refused):
    def put(names, strategy=(), where=cluster):
        return refused(
            "put_cluster_capacity_providers",
            cluster=where, capacityProviders=names, defaultCapacityProviderStrategy=list(strategy),
        )

    for name in ("FARGATE", "FARGATE_SPOT", "nothing"):
        code, message, status = put([name])
        assert (code, status) == (INVALID, 400) and name in message
    assert put([pool], [{"capacityProvider": "other"}])[0] == INVALID
    assert put([pool], [{"capacityProvider": pool, "weight": 1}] * 2)[0] == INVALID
    assert put([pool], where="nowhere")[0] == "ClusterNotFoundException"
    assert refused("describe_capacity_providers", cluster="nowhere")[0] == "ClusterNotFoundException"
    assert refused("describe_capacity_providers", maxResults=11)[0] == INVALID
    code, message, _ = refused("create_capacity_provider", name="pool")
    assert code == "UnsupportedFeatureException" and "CreateCapacityProvider" in message
    assert refused("delete_capacity_provider", capacityProvider=pool)[0] == "UnsupportedFeatureException"


def test_the_cli(agent, pool, cluster):
    answer = agent.aws(
        "put-cluster-capacity-providers", "--cluster", cluster, "--capacity-providers", pool,
        "--default-capacity-provider-strategy", f"capacityProvider={pool},weight=1",
    )
    assert answer["cluster"]["capacityProviders"] == [pool]
    answer = agent.aws("describe-capacity-providers", "--capacity-providers", pool)
    assert answer["capacityProviders"][0]["status"] == "ACTIVE"
