"""ecs-deploy, a command line for deployments that many pipelines use: what it says and what comes of it."""

import os
import shutil
import subprocess

import pytest

from conftest import PATIENCE


@pytest.fixture
def deploy(agent, tmp_path):
    """Runs `ecs ARGUMENTS…`; its standard output, or with another exit code its standard error as well."""
    program = shutil.which("ecs")
    if program is None:
        pytest.skip("ecs-deploy is not installed")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL_ECS": agent.endpoint,
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": agent.key.access_key,
        "AWS_SECRET_ACCESS_KEY": agent.key.secret_key,
        "AWS_EC2_METADATA_DISABLED": "true",
    }

    def deploy(*arguments, code=0):
        done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, timeout=10 * PATIENCE)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + (done.stderr if code else "")

    return deploy


@pytest.fixture
def service(ecs, sleeper, name):
    """A stable service of two tasks that may all be away in a deployment."""
    ecs.create_service(
        serviceName=name, taskDefinition=sleeper["taskDefinitionArn"], desiredCount=2,
        deploymentConfiguration={"minimumHealthyPercent": 0, "maximumPercent": 200},
    )
    stable(ecs, name)
    yield name
    ecs.delete_service(service=name, force=True)
    ecs.get_waiter("services_inactive").wait(services=[name], WaiterConfig={"Delay": 0.1, "MaxAttempts": PATIENCE * 10})


def stable(ecs, name):
    ecs.get_waiter("services_stable").wait(services=[name], WaiterConfig={"Delay": 0.1, "MaxAttempts": PATIENCE * 10})
    return ecs.describe_services(services=[name])["services"][0]


def test_run(ecs, deploy, define, busybox, name, wait_for):
    define(image=busybox, command=["sleep", "600"], stopTimeout=1)
    said = deploy("run", "default", name, "2", "-c", "main", "sleep 300", "-e", "main", "KEY", "value")
    assert f"Successfully started 2 instances of task: {name}:1" in said
    arns = [line[2:].strip() for line in said.splitlines() if line.startswith("- arn:")]
    tasks = wait_for("running", arns)
    for task in tasks:
        (override,) = task["overrides"]["containerOverrides"]
        assert override["command"] == ["sleep", "300"] and task["startedBy"] == "ECS Deploy"
        assert {"name": "KEY", "value": "value"} in override["environment"]
        ecs.stop_task(task=task["taskArn"])
    wait_for("stopped", arns)
    assert "Unknown task definition arn: nothing" in deploy("run", "default", "nothing", code=1)
    assert "ClusterNotFoundException" in deploy("run", "nowhere", name, code=1)


def test_update_and_diff(ecs, deploy, sleeper, name):
    said = deploy("update", name, "-e", "main", "KEY", "value", "-c", "main", "sleep 300")
    assert "Successfully created revision: 2" in said
    assert "Successfully deregistered revision: 1" in said
    definition = ecs.describe_task_definition(taskDefinition=name)["taskDefinition"]
    assert (definition["revision"], definition["status"]) == (2, "ACTIVE")
    assert definition["containerDefinitions"][0]["environment"] == [{"name": "KEY", "value": "value"}]
    assert ecs.describe_task_definition(taskDefinition=f"{name}:1")["taskDefinition"]["status"] == "INACTIVE"
    deploy("update", name, "-e", "main", "KEY", "other", "--no-deregister")
    difference = deploy("diff", name, "2", "3")
    assert difference.splitlines()[:3] == ["change: containers.main.environment.KEY", '    - "value"', '    + "other"']


def test_scale(ecs, deploy, service):
    for count in (3, 1, 0, 2):
        said = deploy("scale", "default", service, str(count), "--timeout", "60")
        assert f"Successfully changed desired count to: {count}" in said and "Scaling successful" in said
        found = ecs.describe_services(services=[service])["services"][0]
        assert (found["desiredCount"], found["runningCount"], len(found["deployments"])) == (count, count, 1)
    assert "Service not found" in deploy("scale", "default", "nothing", "1", code=1)


def test_deploy(ecs, deploy, service):
    before = ecs.describe_services(services=[service])["services"][0]["taskDefinition"]
    said = deploy("deploy", "default", service, "-e", "main", "KEY", "value", "--timeout", "60")
    assert "Deployment successful" in said
    found = stable(ecs, service)
    assert found["taskDefinition"] == before.rsplit(":", 1)[0] + ":2"
    tasks = ecs.describe_tasks(tasks=ecs.list_tasks(serviceName=service)["taskArns"])["tasks"]
    assert [t["taskDefinitionArn"] for t in tasks] == [found["taskDefinition"]] * 2
    assert ecs.describe_task_definition(taskDefinition=before)["taskDefinition"]["status"] == "INACTIVE"


@pytest.mark.box
def test_a_deployment_that_fails_is_rolled_back(ecs, deploy, service, tmp_path):
    before = ecs.describe_services(services=[service])["services"][0]["taskDefinition"]
    # No registry is there; ecs-deploy reads "unable" in the service's events, or waits for its time to pass.
    said = deploy(
        "deploy", "default", service, "-i", "main", "127.0.0.1:1/nothing:1", "--rollback", "--timeout", "15", code=1
    )
    assert "Rollback successful" in said
    found = stable(ecs, service)
    assert found["taskDefinition"] == before and found["runningCount"] == 2
