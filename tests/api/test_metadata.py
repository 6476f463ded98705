"""What containers are given, taken by the SDKs that they run: credentials of the task's role, and task protection."""

import os
import pathlib
import shutil
import subprocess
import tempfile

import boto3
import pytest

from conftest import PATIENCE, ROOT, Agent

ROLE = "arn:aws:iam::123456789012:role/reader"
FILE = "[reader]\naws_access_key_id = AKREADER\naws_secret_access_key = s3cr3t\naws_session_token = tok\n"


@pytest.fixture
def box(agent, monkeypatch):
    """An agent with a role, and the variables of a task in host mode that has it."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="coracle-role-", dir="/var/tmp"))
    (directory / "credentials").write_text(FILE)
    config = directory / "agent.toml"
    config.write_text(f"[roles.'{ROLE}']\ncredentials_file = '{directory}/credentials'\nprofile = 'reader'\n")
    monkeypatch.setenv("CORACLE_CONFIG", str(config))
    own = Agent(agent.binary, directory)
    try:
        own.cli("image", "build", str(ROOT / "images" / "busybox"))
        container = {
            "name": "app", "image": "coracle/busybox", "memory": 16, "stopTimeout": 2,
            "command": ["sh", "-c", "env; echo told; while :; do sleep 1000; done"],
        }
        ecs = own.client()
        ecs.register_task_definition(
            family="f", networkMode="host", taskRoleArn=ROLE, containerDefinitions=[container]
        )
        arn = ecs.run_task(taskDefinition="f")["tasks"][0]["taskArn"]
        yield own, arn, told(own, arn)
        own.stop()
    finally:
        if own.process.poll() is None:
            own.process.kill()
        own.process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def told(agent, arn):
    """What the task prints of its variables."""
    command = [agent.binary, "logs", "--follow", arn, "--run-dir", agent.run_dir]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as logs:
        variables = {}
        for line in logs.stdout:
            if line.strip().endswith("told"):
                logs.terminate()
                return variables
            name, _, value = line.strip().partition("=")
            variables[name.split()[-1]] = value
    raise AssertionError(agent.log.read_text())


def environment(variables):
    """What an SDK in the container has to go by."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"],
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def test_sdks_find_the_credentials_of_the_role(box, monkeypatch):
    _, _, variables = box
    wanted = environment(variables)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in wanted:
        monkeypatch.setenv(name, wanted[name])
    credentials = boto3.Session().get_credentials()
    assert credentials.method == "container-role"
    frozen = credentials.get_frozen_credentials()
    assert (frozen.access_key, frozen.secret_key, frozen.token) == ("AKREADER", "s3cr3t", "tok")

    # The AWS CLI tells only the ends of keys.
    command = ["aws", "configure", "list"]
    done = subprocess.run(command, env=wanted, capture_output=True, text=True, timeout=10 * PATIENCE)
    assert done.returncode == 0, done.stderr
    assert [line.split()[-2:] for line in done.stdout.splitlines() if "ADER" in line] == [
        ["****************ADER", "container-role"]
    ], done.stdout


def test_the_api_protects_tasks_of_services(box):
    own, arn, _ = box
    ecs = own.client()
    answer = ecs.update_task_protection(cluster="default", tasks=[arn], protectionEnabled=True, expiresInMinutes=5)
    assert answer["protectedTasks"] == []
    assert [(f["arn"], f["reason"]) for f in answer["failures"]] == [(arn, "TASK_NOT_VALID")]
    missing = arn[:-32] + "0" * 32
    answer = ecs.get_task_protection(cluster="default", tasks=[arn, missing])
    assert [f["reason"] for f in answer["failures"]] == ["TASK_NOT_VALID", "MISSING"]
    assert ecs.get_task_protection(cluster="default")["protectedTasks"] == []
    with pytest.raises(ecs.exceptions.ClusterNotFoundException):
        ecs.get_task_protection(cluster="none", tasks=[arn])
    shown = own.aws("get-task-protection", "--cluster", "default", "--tasks", arn)
    assert shown["failures"][0]["reason"] == "TASK_NOT_VALID"
