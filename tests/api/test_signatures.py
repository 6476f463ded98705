"""Signatures, with botocore's signer as the oracle: what it signs is believed, anything else is not."""

import datetime
import json
import random

import botocore.auth
import botocore.credentials
import pytest

TARGET = {"X-Amz-Target": "AmazonEC2ContainerServiceV20141113.ListClusters"}


def exception(answer):
    status, headers, content = answer
    kind = json.loads(content)["__type"]
    assert headers["x-amzn-errortype"] == kind
    return status, kind


def random_request(chance):
    """A request with odd but well-formed parts."""
    safe = "abcXYZ019-._~"
    piece = lambda: "".join(chance.choice(safe + " /%ü&=+") for _ in range(chance.randrange(6)))
    from urllib.parse import quote

    segments = [chance.choice(["", ".", "..", quote(piece(), safe="")]) for _ in range(chance.randrange(5))]
    path = "/" + "/".join(segments)
    pairs = [f"{quote(piece(), safe='')}={quote(piece(), safe='')}" for _ in range(chance.randrange(4))]
    if pairs:
        path += "?" + "&".join(pairs)
    headers = {}
    for i in range(chance.randrange(4)):
        words = ["".join(chance.choice(safe + ",;\"'") for _ in range(chance.randrange(1, 5))) for _ in range(3)]
        headers[f"X-Odd-{i}"] = (" " * chance.randrange(1, 4)).join(words)
    body = bytes(chance.randrange(256) for _ in range(chance.randrange(200)))
    method = chance.choice(["POST", "POST", "PUT", "DELETE", "PATCH"])
    return method, path, headers, body


def test_what_botocore_signs_is_believed_and_nothing_else(agent):
    chance = random.Random(20261121)
    for _ in range(200):
        method, path, headers, body = random_request(chance)
        signed = agent.signed(method, path, headers, body, region=chance.choice(["local", "eu-west-1", "x"]))
        # Nothing is there, but who asks is known.
        right = exception(agent.send(method, path, signed, body))
        assert right[1] == "UnknownOperationException", (method, path, headers, body, right)
        wrong = exception(agent.send(method, path, signed, body + b"x"))
        assert wrong == (400, "InvalidSignatureException"), (method, path)
        if headers:
            changed = {**signed, "X-Odd-0": signed["X-Odd-0"] + "x"}
            assert exception(agent.send(method, path, changed, body)) == (400, "InvalidSignatureException")


def test_wrong_secret_unknown_key_and_session_token(agent, refused):
    key, secret = agent.key.access_key, agent.key.secret_key
    code, message, status = refused("list_clusters", agent.client(aws_secret_access_key=secret[:-1] + "!"))
    assert (code, status) == ("InvalidSignatureException", 400)
    assert message.startswith("The request signature we calculated does not match the signature you provided.")
    unknown = ("UnrecognizedClientException", "The security token included in the request is invalid.", 400)
    assert refused("list_clusters", agent.client(aws_access_key_id=key[::-1])) == unknown
    assert refused("list_clusters", agent.client(aws_session_token="token")) == unknown


def test_another_service(agent):
    signed = agent.signed("POST", "/", TARGET, "{}", service="s3")
    assert exception(agent.send("POST", "/", signed, "{}")) == (400, "InvalidSignatureException")


def test_without_a_signature(agent):
    assert exception(agent.send("POST", "/", TARGET, "{}")) == (400, "MissingAuthenticationTokenException")
    for header in ("Basic Zm9v", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a/b/c", "AWS4-ECDSA-P256-SHA256 x"):
        answer = agent.send("POST", "/", {**TARGET, "Authorization": header}, "{}")
        assert exception(answer) == (400, "IncompleteSignatureException"), header


def test_presigned_requests_are_refused(agent):
    import botocore.awsrequest

    request = botocore.awsrequest.AWSRequest(method="POST", url=agent.endpoint + "/", data="{}")
    botocore.auth.SigV4QueryAuth(agent.key, "ecs", "local").add_auth(request)
    path = request.url[len(agent.endpoint):]
    assert exception(agent.send("POST", path, TARGET, "{}")) == (400, "IncompleteSignatureException")


@pytest.mark.parametrize("minutes, begins", [(-20, "Signature expired: "), (20, "Signature not yet current: ")])
def test_a_clock_that_is_off(agent, monkeypatch, minutes, begins):
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    shifted = now + datetime.timedelta(minutes=minutes)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: shifted)
    signed = agent.signed("POST", "/", TARGET, "{}")
    status, headers, content = agent.send("POST", "/", signed, "{}")
    answer = json.loads(content)
    assert (status, answer["__type"]) == (400, "InvalidSignatureException")
    assert answer["message"].startswith(begins + shifted.strftime("%Y%m%dT%H%M%SZ"))
    # From these SDKs learn the server's time.
    assert now.strftime("%Y%m%dT") in answer["message"] and headers["Date"]


def test_what_is_signed_cannot_be_swapped(agent):
    signed = agent.signed("POST", "/", TARGET, "{}")
    signed["X-Amz-Target"] = TARGET["X-Amz-Target"].replace("List", "Delete")
    assert exception(agent.send("POST", "/", signed, "{}")) == (400, "InvalidSignatureException")
    unsigned = agent.signed("POST", "/", {}, "{}")
    answer = agent.send("POST", "/", {**unsigned, **TARGET}, "{}")
    assert exception(answer) == (400, "IncompleteSignatureException")


def test_unsigned_payloads_are_refused(agent):
    headers = {**TARGET, "X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}
    signed = agent.signed("POST", "/", headers, "{}")
    assert exception(agent.send("POST", "/", signed, "{}")) == (400, "InvalidSignatureException")
