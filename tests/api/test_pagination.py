"""Pages: boto3's paginators get everything once, and tokens are good for their own list only."""

import pytest


def all_items(ecs, operation, member, size, **arguments):
    pages = list(ecs.get_paginator(operation).paginate(PaginationConfig={"PageSize": size}, **arguments))
    assert all(len(page[member]) <= size for page in pages)
    return [item for page in pages for item in page[member]]


def test_every_list_has_pages(ecs, define, name):
    for i in range(5):
        define()
        define(family=f"{name}-{i}")
        ecs.create_cluster(clusterName=f"{name}-{i}")
    for size in (1, 2, 100):
        assert all_items(ecs, "list_task_definitions", "taskDefinitionArns", size, familyPrefix=name) == [
            f"arn:aws:ecs:local:000000000000:task-definition/{name}:{i}" for i in range(1, 6)
        ]
        assert all_items(ecs, "list_task_definitions", "taskDefinitionArns", size, familyPrefix=name, sort="DESC") == [
            f"arn:aws:ecs:local:000000000000:task-definition/{name}:{i}" for i in range(5, 0, -1)
        ]
        families = all_items(ecs, "list_task_definition_families", "families", size, familyPrefix=f"{name}-")
        assert families == [f"{name}-{i}" for i in range(5)]
        clusters = all_items(ecs, "list_clusters", "clusterArns", size)
        assert len(clusters) == len(set(clusters)) >= 6


def test_pages_of_tasks(ecs, define, wait_for, name):
    definition = define()["taskDefinitionArn"]
    arns = [t["taskArn"] for t in ecs.run_task(taskDefinition=definition, count=5, startedBy=name)["tasks"]]
    wait_for("stopped", arns)
    arguments = {"startedBy": name, "desiredStatus": "STOPPED"}
    assert sorted(all_items(ecs, "list_tasks", "taskArns", 2, **arguments)) == sorted(arns)


def test_a_page_goes_on_where_it_was_though_items_come_and_go(ecs, define, name):
    for i in (1, 3, 5):
        define(family=f"{name}-{i}")
    first = ecs.list_task_definition_families(familyPrefix=name, maxResults=2)
    assert first["families"] == [f"{name}-1", f"{name}-3"]
    define(family=f"{name}-0")
    define(family=f"{name}-4")
    second = ecs.list_task_definition_families(familyPrefix=name, maxResults=2, nextToken=first["nextToken"])
    assert second["families"] == [f"{name}-4", f"{name}-5"] and "nextToken" not in second


@pytest.mark.parametrize("token", ["x", "AAAA", "null", "W10", "🦀", "A" * 10_000])
def test_tokens_that_are_none(refused, token):
    for operation in ("list_clusters", "list_tasks", "list_task_definitions", "list_services", "list_account_settings"):
        code, message, status = refused(operation, nextToken=token)
        assert (code, message, status) == ("InvalidParameterException", "Invalid token", 400)


def test_a_token_of_another_list(ecs, define, refused, name):
    for _ in range(2):
        define()
    token = ecs.list_task_definitions(familyPrefix=name, maxResults=1)["nextToken"]
    ecs.list_task_definitions(familyPrefix=name, maxResults=1, nextToken=token)
    for other in ({"familyPrefix": "other"}, {"familyPrefix": name, "sort": "DESC"}, {}):
        assert refused("list_task_definitions", nextToken=token, **other)[1] == "Invalid token"
    assert refused("list_clusters", nextToken=token)[1] == "Invalid token"


@pytest.mark.parametrize("size", [0, -1, 101])
def test_sizes_out_of_bounds(refused, size):
    for operation in ("list_clusters", "list_tasks", "list_task_definitions", "list_container_instances"):
        assert refused(operation, maxResults=size)[0] == "InvalidParameterException"
