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


def test_updates_change_what_is_given(ecs, cluster, refused):
    enhanced = [{"name": "containerInsights", "value": "enhanced"}]
    settings = ecs.update_cluster_settings(cluster=cluster, settings=enhanced)["cluster"]["settings"]
    assert settings == enhanced
    configuration = {"executeCommandConfiguration": {"logging": "DEFAULT"}}
    updated = ecs.update_cluster(
        cluster=cluster, configuration=configuration, serviceConnectDefaults={"namespace": "harbour"}
    )["cluster"]
    assert (updated["settings"], updated["configuration"]) == (enhanced, configuration)
    assert updated["serviceConnectDefaults"]["namespace"] == "harbour"
    (shown,) = ecs.describe_clusters(clusters=[cluster], include=["SETTINGS", "ATTACHMENTS"])["clusters"]
    assert (shown["settings"], shown["attachments"]) == (enhanced, [])
    assert refused("update_cluster", cluster="nowhere")[0] == "ClusterNotFoundException"
    perhaps = [{"name": "containerInsights", "value": "perhaps"}]
    assert refused("update_cluster_settings", cluster=cluster, settings=perhaps)[0] == "InvalidParameterException"


def test_creating_again_with_other_arguments_is_refused(ecs, name, refused):
    settings = lambda value: [{"name": "containerInsights", "value": value}]
    ecs.create_cluster(clusterName=name, settings=settings("enabled"))
    told = refused("create_cluster", clusterName=name, settings=settings("disabled"))
    inconsistent = "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."
    assert told == ("InvalidParameterException", inconsistent, 400)


def test_counters_are_live(ecs, sleeper, wait_for):
    count = lambda: ecs.describe_clusters(include=["STATISTICS"])["clusters"][0]
    before = count()["runningTasksCount"]
    (task,) = ecs.run_task(taskDefinition=sleeper["taskDefinitionArn"])["tasks"]
    wait_for("running", [task["taskArn"]])
    during = count()
    assert during["runningTasksCount"] == before + 1
    statistics = {s["name"]: s["value"] for s in during["statistics"]}
    assert statistics["runningEC2TasksCount"] == str(before + 1)
    ecs.stop_task(task=task["taskArn"])
    wait_for("stopped", [task["taskArn"]])
    assert count()["runningTasksCount"] == before
