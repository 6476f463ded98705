"""Task definitions."""

import pytest


def test_registration_fills_in_what_ecs_fills_in(define, ecs, name):
    registered = define(portMappings=[{"containerPort": 80}], definition={"networkMode": "host"})
    assert registered["taskDefinitionArn"] == f"arn:aws:ecs:local:000000000000:task-definition/{name}:1"
    assert (registered["family"], registered["revision"], registered["status"]) == (name, 1, "ACTIVE")
    assert registered["registeredBy"] == "arn:aws:iam::000000000000:root"
    container = registered["containerDefinitions"][0]
    assert container["portMappings"] == [{"containerPort": 80, "hostPort": 80, "protocol": "tcp"}]
    assert (container["cpu"], container["essential"]) == (0, True)
    for empty in ("environment", "mountPoints", "volumesFrom", "systemControls"):
        assert container[empty] == []
    assert "EXTERNAL" in registered["compatibilities"]
    assert ecs.describe_task_definition(taskDefinition=f"{name}:1")["taskDefinition"] == registered


def test_revisions_count_up_and_are_never_used_again(define, ecs, name):
    assert [define()["revision"] for _ in range(3)] == [1, 2, 3]
    newest = lambda: ecs.describe_task_definition(taskDefinition=name)["taskDefinition"]["revision"]
    assert newest() == 3
    ecs.deregister_task_definition(taskDefinition=f"{name}:3")
    assert newest() == 2
    ecs.delete_task_definitions(taskDefinitions=[f"{name}:3"])
    assert define()["revision"] == 4


def test_tags_are_shown_when_asked_for(define, ecs, name):
    tags = [{"key": "a", "value": "1"}]
    define(tags=tags)
    assert ecs.describe_task_definition(taskDefinition=name, include=["TAGS"])["tags"] == tags
    assert "tags" not in ecs.describe_task_definition(taskDefinition=name)


def test_the_life_of_a_revision(define, ecs, name, refused):
    arn = define()["taskDefinitionArn"]
    answer = ecs.delete_task_definitions(taskDefinitions=[arn])
    assert answer["taskDefinitions"] == [] and answer["failures"][0]["arn"] == arn
    assert arn in ecs.list_task_definitions(familyPrefix=name)["taskDefinitionArns"]
    inactive = ecs.deregister_task_definition(taskDefinition=arn)["taskDefinition"]
    assert inactive["status"] == "INACTIVE" and inactive["deregisteredAt"]
    assert ecs.list_task_definitions(familyPrefix=name)["taskDefinitionArns"] == []
    assert ecs.list_task_definitions(familyPrefix=name, status="INACTIVE")["taskDefinitionArns"] == [arn]
    code, message, _ = refused("run_task", taskDefinition=arn)
    assert (code, message) == ("ClientException", "TaskDefinition is inactive")
    deleted = ecs.delete_task_definitions(taskDefinitions=[arn])["taskDefinitions"][0]
    assert deleted["status"] == "DELETE_IN_PROGRESS" and deleted["deleteRequestedAt"]


def test_what_cannot_be_deleted_is_named_as_it_was_asked_for(define, ecs, name):
    define()
    answer = ecs.delete_task_definitions(taskDefinitions=[f"{name}:1", f"{name}:9", name])
    assert answer["taskDefinitions"] == []
    reasons = {failure["arn"]: failure["reason"] for failure in answer["failures"]}
    assert reasons == {
        f"{name}:1": "The specified task definition is still in ACTIVE status. Please deregister the target and try again.",
        f"{name}:9": "The specified task definition does not exist. Specify a valid account, family, revision and try again.",
        name: "The specified task definition identifier is invalid. Specify a valid name or ARN and try again.",
    }


def test_lists(define, ecs, name):
    arns = [define()["taskDefinitionArn"] for _ in range(11)]
    listed = lambda **more: ecs.list_task_definitions(familyPrefix=name, **more)["taskDefinitionArns"]
    assert listed() == arns, "revision 10 comes after 9"
    assert listed(sort="DESC") == arns[::-1]
    define(family=f"{name}-longer")
    assert listed() == arns, "familyPrefix is a whole family here"
    families = lambda **more: ecs.list_task_definition_families(familyPrefix=name, **more)["families"]
    assert families() == [name, f"{name}-longer"]
    ecs.deregister_task_definition(taskDefinition=f"{name}-longer:1")
    assert families(status="ACTIVE") == [name]
    assert families(status="INACTIVE") == [f"{name}-longer"]


UNKNOWN = ("ClientException", "Unable to describe task definition.", 400)


def test_what_is_unknown(refused, name):
    for text in (name, f"{name}:1", "a b", f"arn:aws:ecs:x:1:task-definition/{name}:1", "arn:aws:ecs:x:1:cluster/c"):
        assert refused("describe_task_definition", taskDefinition=text) == UNKNOWN
    assert refused("run_task", taskDefinition=name)[:2] == ("ClientException", "TaskDefinition not found.")
    assert refused("deregister_task_definition", taskDefinition=name) == ("ClientException", "Revision is missing.", 400)
    code, message, _ = refused("deregister_task_definition", taskDefinition=f"{name}:first")
    assert (code, message) == ("InvalidParameterException", "Invalid revision number. Number: first")
    assert refused("deregister_task_definition", taskDefinition=f"{name}:7")[0] == "ClientException"


@pytest.mark.parametrize(
    "container, says",
    [
        ({"image": ""}, "image"),
        ({"memory": None}, "memory"),
        ({"name": "a b"}, "name"),
        ({"essential": False}, "essential"),
        ({"dependsOn": [{"containerName": "other", "condition": "START"}]}, "other"),
        ({"mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}]}, "data"),
        ({"ulimits": [{"name": "nofile", "softLimit": 2, "hardLimit": 1}]}, "nofile"),
    ],
)
def test_what_cannot_be_registered(refused, name, container, says):
    container = {"name": "main", "image": "coracle/hello", "memory": 16, **container}
    container = {k: v for k, v in container.items() if v is not None}
    code, message, status = refused("register_task_definition", family=name, containerDefinitions=[container])
    assert (code, status) == ("ClientException", 400)
    assert says.lower() in message.lower()


def test_enumerations_and_empty_lists(refused, name):
    container = {"name": "main", "image": "coracle/hello", "memory": 16}
    code, message, _ = refused(
        "register_task_definition", family=name, containerDefinitions=[container], networkMode="hots"
    )
    assert (code, message) == ("InvalidParameterException", "NetworkMode should be one of [bridge,host,awsvpc,none]")
    assert refused("register_task_definition", family=name, containerDefinitions=[])[0] == "ClientException"
    code, _, _ = refused("register_task_definition", family="", containerDefinitions=[container])
    assert code == "ClientException"
