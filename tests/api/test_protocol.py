"""HTTP and JSON as they come over the wire."""

import concurrent.futures
import json
import re
import socket

import pytest

CONTAINER = {"name": "main", "image": "coracle/hello", "memory": 16}


def test_every_answer_says_what_it_is(agent):
    status, headers, content = agent.call("ListClusters", {})
    assert status == 200 and "clusterArns" in content
    assert headers["Content-Type"] == "application/x-amz-json-1.1"
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", headers["x-amzn-RequestId"])
    assert headers["Date"]

    status, headers, content = agent.call("DescribeTasks", {"cluster": "nowhere", "tasks": ["0" * 32]})
    assert (status, content) == (400, {"__type": "ClusterNotFoundException", "message": "Cluster not found."})
    assert headers["x-amzn-errortype"] == "ClusterNotFoundException"
    assert headers["x-amzn-RequestId"]


@pytest.mark.parametrize(
    "operation, body, message",
    [
        ("RunTask", {"taskDefinition": 1}, "NUMBER_VALUE cannot be converted to String: taskDefinition"),
        ("RunTask", {"taskDefinition": "x", "count": "1"}, "STRING_VALUE cannot be converted to Integer: count"),
        ("RunTask", {"taskDefinition": "x", "count": 1.5}, "NUMBER_VALUE cannot be converted to Integer: count"),
        ("RunTask", {"taskDefinition": "x", "enableExecuteCommand": "yes"}, "STRING_VALUE cannot be converted to Boolean: enableExecuteCommand"),
        ("RunTask", {"taskDefinition": "x", "tags": {"a": "b"}}, "Start of structure or map found where not expected: tags"),
        ("RunTask", {"taskDefinition": "x", "overrides": []}, "Start of list found where not expected: overrides"),
        ("DescribeTasks", {"tasks": "x"}, "STRING_VALUE cannot be converted to List: tasks"),
        ("RegisterTaskDefinition", {"family": "f", "containerDefinitions": [{**CONTAINER, "memory": "16"}]},
         "STRING_VALUE cannot be converted to Integer: containerDefinitions[0].memory"),
        ("RegisterTaskDefinition", {"family": "f", "cpu": 256, "containerDefinitions": [CONTAINER]},
         "NUMBER_VALUE cannot be converted to String: cpu"),
        ("RegisterTaskDefinition", {"family": "f", "containerDefinitions": [{**CONTAINER, "environment": [{"name": "A", "value": True}]}]},
         "TRUE_VALUE cannot be converted to String: containerDefinitions[0].environment[0].value"),
        ("RegisterTaskDefinition", {"family": "f", "containerDefinitions": CONTAINER},
         "Start of structure or map found where not expected: containerDefinitions"),
        ("ListClusters", [], "Start of list found where not expected: the request"),
    ],
)
def test_wrong_types_are_serialization_exceptions(agent, operation, body, message):
    status, _, content = agent.call(operation, body)
    assert (status, content) == (400, {"__type": "SerializationException", "message": message})


@pytest.mark.parametrize("body", ["{", "nonsense", '{"a": }', b"\xff\xfe", "[" * 100_000, '{"clusters": ["a",]}'])
def test_what_is_not_json_is_a_serialization_exception(agent, body):
    status, _, content = agent.call("DescribeClusters", body)
    assert (status, content["__type"]) == (400, "SerializationException")


def test_absent_null_and_unknown_members(agent):
    for body in ({}, {"clusters": None, "include": None}, {"somethingNew": {"x": [1]}}, ""):
        status, _, content = agent.call("DescribeClusters", body)
        assert (status, content["failures"]) == (200, []), body
        assert [c["clusterName"] for c in content["clusters"]] == ["default"]
    status, _, content = agent.call("ListTasks", {"desiredStatus": "", "launchType": None})
    assert status == 200


@pytest.mark.parametrize("operation", ["Nothing", "", "listClusters", "ListClusters2"])
def test_unknown_operations(agent, operation):
    status, headers, content = agent.call(operation, {})
    assert (status, content["__type"]) == (400, "UnknownOperationException")


def test_other_services_and_no_target(agent):
    for headers in ({"X-Amz-Target": "DynamoDB_20120810.ListTables"}, {}):
        signed = agent.signed("POST", "/", headers, "{}")
        status, _, content = agent.send("POST", "/", signed, "{}")
        assert (status, json.loads(content)["__type"]) == (400, "UnknownOperationException")


def test_other_paths_and_methods(agent):
    for method, path in (("POST", "/x/"), ("PUT", "/"), ("GET", "/coracle/v1/credentials"), ("DELETE", "/x")):
        signed = agent.signed(method, path, {}, "")
        status, _, content = agent.send(method, path, signed, "")
        assert (status, json.loads(content)["__type"]) == (404, "UnknownOperationException"), path
        status, _, content = agent.send(method, path, {}, "")
        assert (status, json.loads(content)["__type"]) == (400, "MissingAuthenticationTokenException"), path


def test_get_tells_a_human_what_this_is(agent):
    status, headers, content = agent.send("GET", "/", {}, None)
    assert status == 200 and headers["Content-Type"].startswith("text/plain")
    text = content.decode()
    assert "Coracle" in text and agent.endpoint in text
    assert agent.key.access_key not in text and agent.key.secret_key not in text


def test_bodies_are_bounded(agent):
    for size in (1024 * 1024 + 1, 8 * 1024 * 1024):
        status, headers, content = agent.call("ListClusters", b" " * size)
        assert (status, content["__type"]) == (413, "RequestEntityTooLargeException")
    status, _, _ = agent.call("ListClusters", b" " * (1024 * 1024))
    assert status == 200


def test_headers_are_bounded(agent):
    status, _, _ = agent.send("GET", "/", {"X-Long": "x" * 100_000}, None)
    assert status == 431


def test_what_is_not_http_does_no_harm(agent):
    for bytes_ in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"POST / HTTP/9.9\r\n\r\n", b"\r\n" * 100):
        with socket.create_connection(("127.0.0.1", agent.port), timeout=30) as raw:
            raw.sendall(bytes_)
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(4096):
                pass
    assert agent.call("ListClusters", {})[0] == 200


def test_one_connection_carries_many_requests(agent):
    with socket.create_connection(("127.0.0.1", agent.port), timeout=30) as raw:
        for _ in range(3):
            raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while b"AWS_ENDPOINT_URL_ECS" not in answer:
                answer += raw.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200")


def test_many_clients_at_once(agent, name):
    def create_and_look(i):
        created = agent.call("CreateCluster", {"clusterName": f"{name}-{i % 8}"})
        found = agent.call("DescribeClusters", {"clusters": [f"{name}-{i % 8}"]})
        return created[0], found[0], found[2]["failures"]

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        assert set(map(str, pool.map(create_and_look, range(160)))) == {str((200, 200, []))}
    listed = agent.call("ListClusters", {"maxResults": 100})[2]["clusterArns"]
    assert len([arn for arn in listed if f"/{name}-" in arn]) == 8
