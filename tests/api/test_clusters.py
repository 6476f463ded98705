"""Clusters."""

import pytest


def test_creating_twice_is_creating_once(ecs, name):
    first = ecs.create_cluster(clusterName=name, tags=[{"key": "k", "value": "v"}])["cluster"]
    assert first["clusterArn"] == f"arn:aws:ecs:local:000000000000:cluster/{name}"
    assert (first["status"], first["tags"]) == ("ACTIVE", [{"key": "k", "value": "v"}])
    again = ecs.create_cluster(clusterName=name)["cluster"]
    assert again["clusterArn"] == first["clusterArn"]
    assert ecs.list_clusters()["clusterArns"].count(first["clusterArn"]) == 1


def test_describe_shows_what_is_asked_for(ecs, name):
    settings = [{"name": "containerInsights", "value": "enhanced"}]
    configuration = {"executeCommandConfiguration": {"logging": "NONE"}}
    ecs.create_cluster(
        clusterName=name, tags=[{"key": "k", "value": "v"}], settings=settings, configuration=configuration
    )
    plain = ecs.describe_clusters(clusters=[name])["clusters"][0]
    assert (plain["tags"], plain["settings"], plain["statistics"]) == ([], [], [])
    assert "configuration" not in plain
    arn = plain["clusterArn"].replace(":local:", ":eu-west-1:").replace(":000000000000:", ":123456789012:")
    full = ecs.describe_clusters(clusters=[arn], include=["TAGS", "SETTINGS", "STATISTICS", "CONFIGURATIONS"])
    full = full["clusters"][0]
    assert full["tags"] == [{"key": "k", "value": "v"}]
    assert full["settings"] == settings and full["configuration"] == configuration
    statistics = {s["name"]: s["value"] for s in full["statistics"]}
    assert statistics["runningEC2TasksCount"] == "0"


def test_what_is_missing_is_no_exception(ecs):
    answer = ecs.describe_clusters(clusters=["default", "nowhere"])
    assert [c["clusterName"] for c in answer["clusters"]] == ["default"]
    arn = "arn:aws:ecs:local:000000000000:cluster/nowhere"
    assert answer["failures"] == [{"arn": arn, "reason": "MISSING"}]


def test_without_a_name_it_is_the_default_cluster(ecs):
    assert ecs.describe_clusters()["clusters"][0]["clusterName"] == "default"
    assert ecs.create_cluster()["cluster"]["clusterName"] == "default"


def test_a_deleted_cluster_is_inactive(ecs, cluster, refused):
    deleted = ecs.delete_cluster(cluster=cluster)["cluster"]
    assert deleted["status"] == "INACTIVE"
    assert ecs.describe_clusters(clusters=[cluster])["clusters"][0]["status"] == "INACTIVE"
    assert deleted["clusterArn"] not in ecs.list_clusters()["clusterArns"]
    not_found = ("ClusterNotFoundException", "Cluster not found.", 400)
    assert refused("list_tasks", cluster=cluster) == not_found
    assert refused("run_task", cluster=cluster, taskDefinition="x") == not_found
    assert refused("delete_cluster", cluster="nowhere") == not_found
    assert ecs.create_cluster(clusterName=cluster)["cluster"]["status"] == "ACTIVE"


def test_the_cluster_of_this_box_cannot_be_deleted(refused):
    code, _, status = refused("delete_cluster", cluster="default")
    assert (code, status) == ("ClusterContainsContainerInstancesException", 400)


@pytest.mark.parametrize(
    "arguments",
    [
        {"clusterName": "no spaces"},
        {"clusterName": "x" * 256},
        {"clusterName": "ok", "capacityProviders": ["FARGATE"]},
        {"clusterName": "ok", "settings": [{"name": "containerInsights", "value": "perhaps"}]},
        {"clusterName": "ok", "tags": [{"key": "aws:x", "value": "y"}]},
        {"clusterName": "ok", "tags": [{"key": "k", "value": "v"}] * 2},
        {"clusterName": "ok", "tags": [{"key": f"k{i}", "value": "v"} for i in range(51)]},
    ],
)
def test_what_cannot_be_created(refused, arguments):
    code, _, status = refused("create_cluster", **arguments)
    assert (code, status) == ("InvalidParameterException", 400)
