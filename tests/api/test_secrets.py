"""Definitions with secrets, as the AWS CLI and boto3 bring them."""

import json
import subprocess

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:{}-AbCdEf:password::"


def test_the_aws_cli_registers_and_runs_secrets(agent, busybox, name, tmp_path):
    canary = f"canary-{name}"
    subprocess.run(
        [agent.binary, "secret", "set", name, "--run-dir", agent.run_dir],
        input=json.dumps({"password": canary}), text=True, check=True, capture_output=True,
    )
    secrets = [{"name": "AS_VARIABLE", "valueFrom": ARN.format(name)}, {"name": "AS_FILE", "valueFrom": ARN.format(name)}]
    labels = {"coracle.secret-file.AS_FILE": "/run/secrets/password"}
    definition = {
        "family": name,
        "networkMode": "none",
        "executionRoleArn": "arn:aws:iam::123456789012:role/ecsTaskExecutionRole",
        "containerDefinitions": [
            {
                "name": "main", "image": busybox, "memory": 16, "secrets": secrets, "dockerLabels": labels,
                "command": ["sh", "-c", "test \"$AS_VARIABLE\" = \"$(cat /run/secrets/password)\" && test -z \"$AS_FILE\" && exit 7"],
            }
        ],
    }
    file = tmp_path / "definition.json"
    file.write_text(json.dumps(definition))
    agent.aws("register-task-definition", "--cli-input-json", f"file://{file}")
    arn = agent.aws("run-task", "--task-definition", name)["tasks"][0]["taskArn"]
    agent.aws("wait", "tasks-stopped", "--tasks", arn)
    task = agent.aws("describe-tasks", "--tasks", arn)
    assert task["tasks"][0]["containers"][0]["exitCode"] == 7

    described = agent.aws("describe-task-definition", "--task-definition", name)
    container = described["taskDefinition"]["containerDefinitions"][0]
    assert (container["secrets"], container["dockerLabels"]) == (secrets, labels)
    assert canary not in json.dumps([task, described])
