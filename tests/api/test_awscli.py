"""The AWS CLI, as people use it."""

import json

import pytest


def test_register_run_wait_describe_stop_wait(agent, busybox, name, tmp_path):
    definition = {
        "family": name,
        "networkMode": "host",
        "containerDefinitions": [
            {
                "name": "main", "image": busybox, "memory": 16, "essential": True, "stopTimeout": 5,
                "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"],
            }
        ],
    }
    file = tmp_path / "definition.json"
    file.write_text(json.dumps(definition))
    registered = agent.aws("register-task-definition", "--cli-input-json", f"file://{file}")
    assert registered["taskDefinition"]["revision"] == 1

    arn = agent.aws("run-task", "--task-definition", name, "--started-by", name)["tasks"][0]["taskArn"]
    agent.aws("wait", "tasks-running", "--tasks", arn)
    (task,) = agent.aws("describe-tasks", "--tasks", arn)["tasks"]
    assert (task["lastStatus"], task["containers"][0]["lastStatus"]) == ("RUNNING", "RUNNING")
    assert agent.aws("list-tasks", "--started-by", name)["taskArns"] == [arn]
    agent.aws("stop-task", "--task", arn, "--reason", "the test is over")
    agent.aws("wait", "tasks-stopped", "--tasks", arn)
    (task,) = agent.aws("describe-tasks", "--tasks", arn)["tasks"]
    assert (task["lastStatus"], task["stoppedReason"]) == ("STOPPED", "the test is over")
    assert task["containers"][0]["exitCode"] == 0

    # What describe shows can be registered again.
    described = agent.aws("describe-task-definition", "--task-definition", name)["taskDefinition"]
    for member in ("taskDefinitionArn", "revision", "status", "requiresAttributes", "compatibilities", "registeredAt", "registeredBy"):
        described.pop(member, None)
    again = agent.aws("register-task-definition", "--cli-input-json", json.dumps(described))["taskDefinition"]
    assert again["revision"] == 2
    assert again["containerDefinitions"] == described["containerDefinitions"]


def test_network_configuration(agent, busybox, name, tmp_path):
    definition = {
        "family": name,
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": "256",
        "memory": "512",
        "containerDefinitions": [{"name": "main", "image": busybox, "stopTimeout": 2, "command": ["sleep", "600"]}],
    }
    file = tmp_path / "definition.json"
    file.write_text(json.dumps(definition))
    agent.aws("register-task-definition", "--cli-input-json", f"file://{file}")
    configuration = "awsvpcConfiguration={subnets=[subnet-1],securityGroups=[sg-1],assignPublicIp=DISABLED}"
    ran = agent.aws(
        "run-task", "--task-definition", name, "--launch-type", "FARGATE", "--network-configuration", configuration
    )
    arn = ran["tasks"][0]["taskArn"]
    agent.aws("wait", "tasks-running", "--tasks", arn)
    (task,) = agent.aws("describe-tasks", "--tasks", arn)["tasks"]
    (attachment,) = task["attachments"]
    details = {detail["name"]: detail["value"] for detail in attachment["details"]}
    assert (attachment["type"], attachment["status"]) == ("ElasticNetworkInterface", "ATTACHED")
    assert details["subnetId"] == "subnet-1" and details["networkInterfaceId"].startswith("eni-")
    (interface,) = task["containers"][0]["networkInterfaces"]
    assert interface["privateIpv4Address"] == details["privateIPv4Address"]
    agent.aws("stop-task", "--task", arn)
    agent.aws("wait", "tasks-stopped", "--tasks", arn)


def test_pages(agent, define, name):
    for i in range(3):
        define(family=f"{name}-{i}")
    listed = agent.aws("list-task-definition-families", "--family-prefix", name, "--page-size", "1")
    assert listed["families"] == [f"{name}-{i}" for i in range(3)]
    part = agent.aws("list-task-definition-families", "--family-prefix", name, "--max-items", "2", "--page-size", "2")
    assert len(part["families"]) == 2 and part["NextToken"]
    rest = agent.aws("list-task-definition-families", "--family-prefix", name, "--starting-token", part["NextToken"])
    assert rest["families"] == [f"{name}-2"]


@pytest.mark.parametrize(
    "arguments, error",
    [
        (["describe-tasks", "--cluster", "nowhere", "--tasks", "0" * 32], "(ClusterNotFoundException)"),
        (["describe-task-definition", "--task-definition", "nothing"], "(ClientException)"),
        (["stop-task", "--task", "0" * 32], "(InvalidParameterException)"),
        (["list-clusters", "--starting-token", "x"], "(InvalidParameterException)"),
        (["create-service", "--service-name", "x", "--task-definition", "x", "--desired-count", "1"], "(ClientException)"),
        (["delete-cluster", "--cluster", "default"], "(ClusterContainsContainerInstancesException)"),
    ],
)
def test_errors(agent, arguments, error):
    # Exit code 255 in version 1 of the CLI, 254 in version 2.
    assert error in agent.aws(*arguments, code=255 if cli_version(agent) == "1" else 254)


def cli_version(agent):
    import subprocess

    text = subprocess.run(["aws", "--version"], capture_output=True, text=True, check=True)
    return (text.stdout or text.stderr).split("/")[1].split(".")[0]


def test_the_waiter_notices_what_is_missing(agent):
    text = agent.aws("wait", "tasks-running", "--tasks", "0" * 32, code=255)
    assert "Waiter TasksRunning failed" in text


def test_a_service(agent, sleeper, name):
    configuration = "maximumPercent=200,minimumHealthyPercent=50,deploymentCircuitBreaker={enable=true,rollback=true}"
    created = agent.aws(
        "create-service", "--service-name", name, "--task-definition", name, "--desired-count", "1",
        "--deployment-configuration", configuration, "--tags", "key=k,value=v", "--propagate-tags", "SERVICE",
    )["service"]
    assert (created["status"], created["desiredCount"], created["launchType"]) == ("ACTIVE", 1, "EC2")
    assert created["deploymentConfiguration"]["deploymentCircuitBreaker"] == {"enable": True, "rollback": True}
    agent.aws("wait", "services-stable", "--services", name)
    (task,) = agent.aws("list-tasks", "--service-name", name)["taskArns"]
    agent.aws("wait", "tasks-running", "--tasks", task)
    assert created["serviceArn"] in agent.aws("list-services")["serviceArns"]

    updated = agent.aws("update-service", "--service", name, "--desired-count", "2", "--force-new-deployment")["service"]
    assert [d["status"] for d in updated["deployments"]] == ["PRIMARY", "ACTIVE"]
    agent.aws("wait", "services-stable", "--services", name)
    (service,) = agent.aws("describe-services", "--services", name, "--include", "TAGS")["services"]
    assert (service["runningCount"], service["tags"]) == (2, [{"key": "k", "value": "v"}])
    assert any("has reached a steady state" in event["message"] for event in service["events"])

    agent.aws("update-service", "--service", name, "--desired-count", "0")
    agent.aws("wait", "services-stable", "--services", name)
    agent.aws("wait", "tasks-stopped", "--tasks", task)
    assert agent.aws("delete-service", "--service", name)["service"]["status"] in ("DRAINING", "INACTIVE")
    agent.aws("wait", "services-inactive", "--services", name)
