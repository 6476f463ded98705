"""What happens to the API at the ends of an agent's life, and who may use its socket."""

import json
import os
import pathlib
import shutil
import signal
import socket
import tempfile

import pytest

from conftest import PATIENCE, ROOT, Agent

NOBODY = 65534
@pytest.fixture
def directory(agent):
    # The session's agent says whether the tests can run at all. Short: a socket's path has at most 107 bytes.
    path = pathlib.Path(tempfile.mkdtemp(prefix="coracle-life-", dir="/var/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def end(agent):
    if agent.process.poll() is None:
        agent.process.kill()
    agent.process.wait()


def test_the_key_outlives_the_agent(agent, directory):
    first = Agent(agent.binary, directory)
    try:
        key = (first.key.access_key, first.key.secret_key)
        assert len(key[0]) == 20 and key[0].startswith("CORACLE") and len(key[1]) == 40
        first.client().create_cluster(clusterName="kept")
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        os.unlink(directory / "notify")
        second = Agent(agent.binary, directory)
        try:
            assert (second.key.access_key, second.key.secret_key) == key
            assert any(a.endswith("cluster/kept") for a in second.client().list_clusters()["clusterArns"])
            second.stop()
        finally:
            end(second)
    finally:
        end(first)


def test_an_answer_without_an_end_does_not_keep_the_agent(agent, directory):
    other = Agent(agent.binary, directory)
    try:
        ecs = other.client()
        other.cli("image", "build", str(ROOT / "images" / "busybox"))
        command = ["sleep", "1000"]
        container = {"name": "main", "image": "coracle/busybox", "memory": 16, "command": command, "stopTimeout": 2}
        ecs.register_task_definition(family="f", networkMode="none", containerDefinitions=[container])
        arn = ecs.run_task(taskDefinition="f")["tasks"][0]["taskArn"]
        watch = socket.socket(socket.AF_UNIX)
        watch.settimeout(PATIENCE)
        watch.connect(str(other.run_dir / "api.sock"))
        watch.sendall(f"GET /coracle/v1/logs?task={arn}&follow=true HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert watch.recv(4096).startswith(b"HTTP/1.1 200")
        idle = socket.create_connection(("127.0.0.1", other.port))
        other.stop()
        while watch.recv(4096):
            pass
        try:
            assert idle.recv(1) == b""
        except ConnectionResetError:
            pass
        watch.close()
        idle.close()
    finally:
        end(other)


def ask_as_nobody(agent):
    """What an unprivileged process gets from the socket, or the name of the error it gets instead."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            with socket.socket(socket.AF_UNIX) as stream:
                stream.settimeout(PATIENCE)
                stream.connect(str(agent.run_dir / "api.sock"))
                stream.sendall(b"GET /coracle/v1/credentials HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                while piece := stream.recv(4096):
                    os.write(writing, piece)
        except BaseException as error:
            os.write(writing, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        content = answer.read()
    os.waitpid(child, 0)
    return content


def test_other_users_cannot_connect_and_are_refused_if_they_can(agent):
    assert ask_as_nobody(agent) == b"PermissionError"
    path = agent.run_dir / "api.sock"
    modes = [(p, p.stat().st_mode & 0o7777) for p in (path, path.parent, path.parent.parent)]
    try:
        for opened, _ in modes:
            opened.chmod(0o777)
        answer = ask_as_nobody(agent)
    finally:
        for opened, mode in modes:
            opened.chmod(mode)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403"), answer
    assert json.loads(body)["__type"] == "AccessDeniedException"
    assert agent.key.secret_key.encode() not in answer
