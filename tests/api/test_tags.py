"""Tags of every kind of resource."""

import pytest


def as_tags(**tags):
    return [{"key": k, "value": v} for k, v in tags.items()]


@pytest.mark.parametrize("kind", ["cluster", "task definition", "container instance", "task", "service"])
def test_tag_untag_and_list(ecs, define, cluster, wait_for, kind, name):
    if kind == "cluster":
        arn = f"arn:aws:ecs:local:000000000000:cluster/{cluster}"
    elif kind == "task definition":
        arn = define()["taskDefinitionArn"]
    elif kind == "container instance":
        (arn,) = ecs.list_container_instances()["containerInstanceArns"]
    elif kind == "service":
        made = ecs.create_service(
            cluster=cluster, serviceName=name, taskDefinition=define()["taskDefinitionArn"], desiredCount=0
        )
        arn = made["service"]["serviceArn"]
    else:
        arn = ecs.run_task(taskDefinition=define()["taskDefinitionArn"])["tasks"][0]["taskArn"]
        wait_for("stopped", [arn])
    listed = lambda: {t["key"]: t["value"] for t in ecs.list_tags_for_resource(resourceArn=arn)["tags"]}
    assert listed() == {}
    ecs.tag_resource(resourceArn=arn, tags=as_tags(a="1", b="2"))
    ecs.tag_resource(resourceArn=arn, tags=as_tags(b="3", c="4"))
    assert listed() == {"a": "1", "b": "3", "c": "4"}
    ecs.untag_resource(resourceArn=arn, tagKeys=["a", "unknown"])
    assert listed() == {"b": "3", "c": "4"}
    ecs.untag_resource(resourceArn=arn, tagKeys=["b", "c"])
    assert listed() == {}


def test_the_limit_is_on_the_resource(ecs, cluster, refused):
    arn = f"arn:aws:ecs:local:000000000000:cluster/{cluster}"
    ecs.tag_resource(resourceArn=arn, tags=[{"key": f"k{i}", "value": ""} for i in range(50)])
    code, _, status = refused("tag_resource", resourceArn=arn, tags=as_tags(more="x"))
    assert code in ("LimitExceededException", "InvalidParameterException") and status == 400
    ecs.tag_resource(resourceArn=arn, tags=as_tags(k0="changed"))


def test_what_is_refused(agent, refused, cluster):
    arn = "arn:aws:ecs:local:000000000000:"
    for bad in ("web", "arn:aws:s3:::bucket", arn + "cluster/a b", arn + "task-definition/family", arn + "nothing/x"):
        assert refused("list_tags_for_resource", resourceArn=bad)[0] == "InvalidParameterException", bad
        assert refused("tag_resource", resourceArn=bad, tags=as_tags(a="b"))[0] == "InvalidParameterException", bad
    missing = arn + "task/default/" + "0" * 32
    assert refused("list_tags_for_resource", resourceArn=missing)[0] == "InvalidParameterException"
    assert refused("tag_resource", resourceArn=missing, tags=as_tags(a="b"))[0] in (
        "ResourceNotFoundException", "InvalidParameterException",
    )
    assert refused("list_tags_for_resource", resourceArn=arn + "cluster/nowhere")[0] == "ClusterNotFoundException"
    here = arn + f"cluster/{cluster}"
    assert agent.call("TagResource", {"resourceArn": here, "tags": as_tags(**{"": "b"})})[2]["__type"] == "InvalidParameterException"
    for tags in (as_tags(**{"aws:a": "b"}), as_tags(a="x" * 257), as_tags(**{"a;": "b"})):
        assert refused("tag_resource", resourceArn=here, tags=tags)[0] == "InvalidParameterException", tags


def test_the_managed_tag_tells_the_cluster(ecs, define, refused):
    definition = define(tags=as_tags(a="1"))["taskDefinitionArn"]
    run = lambda **more: ecs.run_task(taskDefinition=definition, **more)["tasks"][0]["tags"]
    managed = as_tags(**{"aws:ecs:clusterName": "default"})
    assert run(enableECSManagedTags=True) == managed
    assert run(enableECSManagedTags=True, propagateTags="TASK_DEFINITION", tags=as_tags(b="2")) == [
        *as_tags(a="1", b="2"), *managed,
    ]
    assert run(enableECSManagedTags=False) == run() == []
    instances = ecs.list_container_instances()["containerInstanceArns"]
    started = ecs.start_task(taskDefinition=definition, containerInstances=instances, enableECSManagedTags=True)
    assert started["tasks"][0]["tags"] == managed


def test_a_deleted_cluster_shows_no_tags(ecs, cluster, refused):
    ecs.delete_cluster(cluster=cluster)
    arn = f"arn:aws:ecs:local:000000000000:cluster/{cluster}"
    told = ("InvalidParameterException", "The specified cluster is inactive. Specify an active cluster and try again.", 400)
    assert refused("list_tags_for_resource", resourceArn=arn) == told
    assert refused("tag_resource", resourceArn=arn, tags=as_tags(a="b")) == told
    assert refused("untag_resource", resourceArn=arn, tagKeys=["a"]) == told
