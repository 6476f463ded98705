"""Inputs made from botocore's model: the least one of an operation, the fullest one, and ways to break them."""

import copy

import boto3

SERVICE = boto3.client("ecs", region_name="x", aws_access_key_id="x", aws_secret_access_key="x").meta.service_model
OPERATIONS = sorted(SERVICE.operation_names)
LONG = 100_000
# Where an empty list is how everything is taken away.
MAY_BE_EMPTY = {"PutClusterCapacityProviders": {"capacityProviders", "defaultCapacityProviderStrategy"}}


def model(operation):
    return SERVICE.operation_model(operation)


def errors(operation):
    """The names of the errors that the model gives an operation."""
    return {error.name for error in model(operation).error_shapes}


def smallest(shape):
    """The least input that has every required member."""
    if shape.type_name == "structure" and shape.is_tagged_union:
        name = next(iter(shape.members))
        return {name: smallest(shape.members[name])}
    if shape.type_name == "structure":
        return {name: smallest(shape.members[name]) for name in shape.required_members}
    if shape.type_name == "list":
        return [smallest(shape.member)]
    if shape.type_name == "map":
        return {}
    if shape.type_name == "string":
        return shape.enum[0] if shape.enum else "default"
    if shape.type_name == "boolean":
        return False
    return max(1, shape.metadata.get("min", 1))


def fullest(shape, within=()):
    """An input with every member there is, one of each list. What is in itself is left out."""
    if shape.type_name == "structure":
        names = list(shape.members)[:1] if shape.is_tagged_union else shape.members
        inner = (*within, shape.name)
        return {n: fullest(shape.members[n], inner) for n in names if shape.members[n].name not in inner}
    if shape.type_name == "list":
        return [fullest(shape.member, within)]
    if shape.type_name == "map":
        return {"key": fullest(shape.value, within)}
    return smallest(shape)


def places(shape, value, path=()):
    """Every place in an input that fits the shape: its path and its shape, the outermost first."""
    if path:
        yield path, shape
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from places(shape.value if shape.type_name == "map" else shape.members[name], inner, (*path, name))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from places(shape.member, inner, (*path, i))


def changed(body, path, value):
    """A copy of `body` with another value at `path`."""
    body = copy.deepcopy(body)
    inner = body
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return body


def without(body, path):
    """A copy of `body` without what is at `path`."""
    body = copy.deepcopy(body)
    inner = body
    for step in path[:-1]:
        inner = inner[step]
    del inner[path[-1]]
    return body


def rendered(path, shape):
    """A path as errors about JSON types name it: `tags[0].key`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif shape.type_name == "map":
            text += f'["{step}"]'
        else:
            text += f".{step}" if text else step
        shape = shape.value if shape.type_name == "map" else shape.member if isinstance(step, int) else shape.members[step]
    return text


WRONG = {
    "string": (7, {"a": 1}, True),
    "boolean": ("true", 0),
    "integer": ("7", 1.5, True),
    "long": ("7", 1.5),
    "double": ("1", False),
    "float": ("1", False),
    "timestamp": ("2020-01-01T00:00:00Z", True),
    "list": ("x", {}, 1),
    "map": ("x", [], 1),
    "structure": ("x", [], 1),
}


def wrong_types(operation):
    """(body, path in words): a value of another JSON type at every place."""
    shape = model(operation).input_shape
    full = fullest(shape)
    for path, at in places(shape, full):
        for value in WRONG[at.type_name]:
            yield changed(full, path, value), rendered(path, shape)


def out_of_range(operation):
    """(body, path in words): texts that are not in an enumeration, numbers beyond their bounds."""
    shape = model(operation).input_shape
    full = fullest(shape)
    for path, at in places(shape, full):
        where = rendered(path, shape)
        if at.type_name == "string" and at.enum:
            yield changed(full, path, "NOT_ONE_OF_THEM"), where
        if at.type_name in ("integer", "long", "double"):
            if "min" in at.metadata:
                yield changed(full, path, at.metadata["min"] - 1), where
            if "max" in at.metadata:
                # Beyond 32 bits it is no integer any more, and refused as such.
                yield changed(full, path, at.metadata["max"] + 1), where
            if at.type_name == "integer":
                yield changed(full, path, 2**31), where
                yield changed(full, path, -(2**31) - 1), where


def incomplete(operation):
    """(body, path in words): each required member left out, and each required one of the request empty."""
    shape = model(operation).input_shape
    full = fullest(shape)
    least = smallest(shape)
    for name in shape.required_members:
        yield without(least, (name,)), name
        yield changed(least, (name,), None), name
        if shape.members[name].type_name in ("string", "list") and name not in MAY_BE_EMPTY.get(operation, ()):
            yield changed(least, (name,), "" if shape.members[name].type_name == "string" else []), name
    for path, at in places(shape, full):
        if at.type_name == "structure":
            for name in at.required_members:
                if name in at.members and at.members[name].name not in (at.name,):
                    yield without(full, (*path, name)), rendered((*path, name), shape)


def too_long(operation):
    """(body, name): a required text far beyond what any name, id or ARN may have."""
    shape = model(operation).input_shape
    least = smallest(shape)
    for name in shape.required_members:
        at = shape.members[name]
        if at.type_name == "string" and not at.enum:
            yield changed(least, (name,), "a" * LONG), name
        elif at.type_name == "list" and at.member.type_name == "string":
            yield changed(least, (name,), ["a" * LONG]), name
