"""What an agent reports, and where it is told to connect."""

import pytest

INVALID = "InvalidParameterException"


@pytest.mark.box
def test_a_box_knows_better_what_its_tasks_do(ecs, agent, sleeper, wait_for):
    (task,) = ecs.run_task(taskDefinition=sleeper["taskDefinitionArn"])["tasks"]
    (task,) = wait_for("running", [task["taskArn"]])
    arn = task["taskArn"]
    answer = ecs.submit_task_state_change(task=arn, status="STOPPED", reason="I say so")
    assert answer["acknowledgment"]
    answer = ecs.submit_container_state_change(task=arn, containerName="main", status="STOPPED", exitCode=1)
    assert answer["acknowledgment"]
    (after,) = ecs.describe_tasks(tasks=[arn])["tasks"]
    assert (after["lastStatus"], after["version"]) == ("RUNNING", task["version"])
    ecs.stop_task(task=arn)
    wait_for("stopped", [arn])


def test_what_is_refused(ecs, define, wait_for, cluster, refused):
    (task,) = ecs.run_task(taskDefinition=define()["taskDefinitionArn"])["tasks"]
    arn = task["taskArn"]
    assert refused("submit_task_state_change")[0] == INVALID
    assert refused("submit_task_state_change", task=arn, status="EXPLODED")[0] == INVALID
    assert refused("submit_task_state_change", task="0" * 32, status="RUNNING")[0] == INVALID
    assert refused("submit_task_state_change", cluster=cluster, task=arn, status="RUNNING")[0] == INVALID
    assert refused("submit_task_state_change", cluster="nowhere", task="0" * 32)[0] == "ClusterNotFoundException"
    assert refused("submit_container_state_change", task=arn, status="STOPPED")[0] == INVALID
    assert refused("submit_container_state_change", task=arn, containerName="other", status="STOPPED")[0] == INVALID
    wait_for("stopped", [arn])


def test_attachments(ecs, refused):
    attachment = {"attachmentArn": "arn:aws:ecs:local:000000000000:attachment/x", "status": "ATTACHED"}
    assert ecs.submit_attachment_state_changes(attachments=[attachment])["acknowledgment"]
    bad = {**attachment, "status": "LOST"}
    assert refused("submit_attachment_state_changes", attachments=[bad])[0] == INVALID
    bad = {**attachment, "attachmentArn": ""}
    assert refused("submit_attachment_state_changes", attachments=[bad])[0] == INVALID
    assert refused("submit_attachment_state_changes", cluster="nowhere", attachments=[attachment])[0] == "ClusterNotFoundException"


def test_the_endpoint_is_our_own(ecs, agent, refused):
    (box,) = ecs.list_container_instances()["containerInstanceArns"]
    answer = ecs.discover_poll_endpoint(containerInstance=box)
    assert answer["endpoint"] == answer["telemetryEndpoint"] == agent.endpoint + "/"
    assert refused("discover_poll_endpoint", cluster="nowhere")[0] == "ClientException"
    assert refused("discover_poll_endpoint", containerInstance="0" * 32)[0] == "ClientException"
