"""What the unix socket has beside the ECS API."""

import json

import pytest


def lines(content):
    return [json.loads(line) for line in content.splitlines()]


def test_version_and_credentials(agent):
    status, content = agent.local("GET", "/coracle/v1/version")
    assert status == 200 and json.loads(content)["version"]
    status, content = agent.local("GET", "/coracle/v1/credentials")
    assert json.loads(content) == {
        "endpoint": agent.endpoint,
        "accessKeyId": agent.key.access_key,
        "secretAccessKey": agent.key.secret_key,
        "region": "local",
    }


def test_the_ecs_api_needs_no_signature_there(agent):
    import http.client
    import socket

    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(agent.run_dir / "api.sock"))
    headers = {"X-Amz-Target": "AmazonEC2ContainerServiceV20141113.ListClusters"}
    connection.request("POST", "/", "{}", headers)
    assert "clusterArns" in json.loads(connection.getresponse().read())


def test_other_users_are_kept_out(agent):
    import os
    import stat

    mode = os.stat(agent.run_dir / "api.sock").st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
    assert stat.S_IMODE(os.stat(agent.state_dir / "keys" / "root.json").st_mode) == 0o600


def test_a_task_is_watched_to_its_end(agent, ecs, define):
    arn = ecs.run_task(taskDefinition=define()["taskDefinitionArn"])["tasks"][0]["taskArn"]
    identity = arn.rsplit("/", 1)[1]
    status, content = agent.local("GET", f"/coracle/v1/tasks/{identity[:12]}/watch")
    seen = lines(content)
    assert status == 200 and {t["taskArn"] for t in seen} == {arn}
    versions = [t["version"] for t in seen]
    assert versions == sorted(set(versions))
    assert seen[-1]["lastStatus"] == "STOPPED"
    (described,) = agent.call("DescribeTasks", {"tasks": [arn]})[2]["tasks"]
    assert seen[-1] == described


def test_logs(agent, ecs, define, busybox, wait_for):
    script = "for i in 1 2 3; do echo out $i; done; echo err >&2; printf 'no newline'"
    arn = ecs.run_task(taskDefinition=define(image=busybox, command=["sh", "-c", script])["taskDefinitionArn"])["tasks"][0]["taskArn"]
    identity = arn.rsplit("/", 1)[1]
    # Following ends by itself when the task is over.
    status, content = agent.local("GET", f"/coracle/v1/logs?task={identity}&follow=true")
    followed = lines(content)
    wait_for("stopped", [arn])
    status, content = agent.local("GET", f"/coracle/v1/logs?task={identity}&container=main")
    kept = lines(content)
    assert sorted(map(json.dumps, followed)) == sorted(map(json.dumps, kept))
    assert {line["container"] for line in kept} == {"main"}
    assert [line["log"] for line in kept if line["stream"] == "stdout"] == ["out 1\n", "out 2\n", "out 3\n", "no newline"]
    assert [line["log"] for line in kept if line["stream"] == "stderr"] == ["err\n"]
    assert all(line["time"].endswith("Z") for line in kept)
    status, content = agent.local("GET", f"/coracle/v1/logs?task={identity}&tail=2")
    assert len(lines(content)) == 2


def test_images(agent, busybox):
    status, content = agent.local("GET", "/coracle/v1/images")
    images = {image["name"]: image for image in json.loads(content)["images"]}
    assert any("coracle/hello" in name for name in images) and any("busybox" in name for name in images)
    assert all(i["digest"].startswith("sha256:") and i["size"] > 0 and "/" in i["platform"] for i in images.values())


def test_a_pull_that_fails_says_why_in_its_last_line(agent):
    status, content = agent.local("POST", "/coracle/v1/images/pull", {"image": "127.0.0.1:1/nothing:here"})
    assert status == 200 and "error" in lines(content)[-1]
    status, content = agent.local("POST", "/coracle/v1/images/pull", {"image": "coracle/hello"})
    assert lines(content)[-1]["digest"].startswith("sha256:")


@pytest.mark.parametrize(
    "method, path, body, status",
    [
        ("GET", "nothing", None, 404),
        ("POST", "version", {}, 404),
        ("GET", "version?x=1", None, 400),
        ("GET", "logs", None, 400),
        ("GET", "logs?task=" + "0" * 32, None, 404),
        ("GET", "logs?task=%zz", None, 400),
        ("GET", "tasks/abc/watch", None, 400),
        ("GET", "tasks/..%2Fx/watch", None, 404),
        ("GET", "tasks/" + "f" * 32 + "/watch", None, 404),
        ("POST", "images/load", {}, 400),
        ("POST", "images/load", {"path": "relative.tar"}, 400),
        ("POST", "images/load", {"path": "/no/such/file.tar"}, 400),
        ("POST", "images/pull", {"image": ""}, 400),
    ],
)
def test_what_is_refused(agent, method, path, body, status):
    found, content = agent.local(method, "/coracle/v1/" + path, body)
    assert found == status
    assert list(json.loads(content)) == ["error"]
