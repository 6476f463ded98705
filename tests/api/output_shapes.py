"""Holds answers against the output shapes of botocore's model: no member that is not modelled, none missing that is
required, no wrong type, no null, times as epoch seconds."""

import json
import numbers

# The errors of the protocol, which any operation may answer with.
GENERAL = {
    "SerializationException", "UnrecognizedClientException", "InvalidSignatureException",
    "IncompleteSignatureException", "MissingAuthenticationTokenException", "UnknownOperationException",
    "RequestEntityTooLargeException",
}
STATUS = {"ServerException": 500, "AccessDeniedException": 403, "RequestEntityTooLargeException": 413}
# Seconds, not milliseconds: from 2020 to 2100.
EPOCH = (1_577_836_800, 4_102_444_800)

SCALARS = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "long": int,
    "double": numbers.Real,
    "float": numbers.Real,
    "timestamp": numbers.Real,
}


def problems(shape, value, path):
    """What is wrong with `value`, a text each."""
    if shape.type_name == "structure":
        if not isinstance(value, dict):
            return [f"{path} is {value!r}, not a structure"]
        found = []
        for name, inner in value.items():
            if name not in shape.members:
                found.append(f"{path}.{name} is not in the model")
            else:
                found += problems(shape.members[name], inner, f"{path}.{name}")
        found += [f"{path} is without {name}" for name in shape.required_members if name not in value]
        return found
    if shape.type_name == "list":
        if not isinstance(value, list):
            return [f"{path} is {value!r}, not a list"]
        return [p for i, inner in enumerate(value) for p in problems(shape.member, inner, f"{path}[{i}]")]
    if shape.type_name == "map":
        if not isinstance(value, dict):
            return [f"{path} is {value!r}, not a map"]
        return [p for key, inner in value.items() for p in problems(shape.value, inner, f"{path}[{key!r}]")]
    expected = SCALARS[shape.type_name]
    if not isinstance(value, expected) or (expected is not bool and isinstance(value, bool)):
        return [f"{path} is {value!r}, not a {shape.type_name}"]
    if shape.type_name == "timestamp" and not EPOCH[0] <= value <= EPOCH[1]:
        return [f"{path} is {value!r}, which are not seconds since 1970 of this century"]
    allowed = getattr(shape, "enum", None)
    if allowed and value not in allowed:
        return [f"{path} is {value!r}, not one of {allowed}"]
    return []


def check(http_response, model, **_):
    """Handler of botocore's `after-call`: fails the test that gets an answer outside of the model."""
    answer(model, http_response.status_code, http_response.headers, json.loads(http_response.content))


def answer(model, status, headers, content):
    """Fails for an answer of this operation that is outside of the model."""
    assert headers["x-amzn-RequestId"], "every answer has a request id"
    if status < 300:
        found = problems(model.output_shape, content, model.name)
        assert not found, "\n".join(found)
        return
    exception = content["__type"]
    assert headers["x-amzn-errortype"] == exception
    assert status == STATUS.get(exception, 400), f"{exception} with status {status}"
    assert isinstance(content["message"], str) and content["message"]
    modelled = {error.name: error for error in model.error_shapes}
    assert exception in modelled or exception in GENERAL, f"{model.name} may not answer {exception}"
    if exception in modelled:
        members = set(content) - {"__type"}
        assert members <= set(modelled[exception].members), members
