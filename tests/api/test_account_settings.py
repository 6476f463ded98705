"""Account settings."""

ROOT = "arn:aws:iam::000000000000:root"


def settings(ecs, **arguments):
    pages = ecs.get_paginator("list_account_settings").paginate(**arguments)
    return {s["name"]: s["value"] for page in pages for s in page["settings"]}


def test_put_list_and_delete(ecs):
    assert "containerInsights" not in settings(ecs)
    effective = settings(ecs, effectiveSettings=True)
    assert effective["containerInsights"] == "disabled" and effective["taskLongArnFormat"] == "enabled"
    put = ecs.put_account_setting(name="containerInsights", value="enhanced")["setting"]
    assert (put["name"], put["value"], put["principalArn"]) == ("containerInsights", "enhanced", ROOT)
    assert settings(ecs) == {"containerInsights": "enhanced"}
    assert settings(ecs, effectiveSettings=True)["containerInsights"] == "enhanced"
    user = "arn:aws:iam::000000000000:user/somebody"
    assert settings(ecs, principalArn=user) == {}
    inherited = settings(ecs, principalArn=user, effectiveSettings=True, name="containerInsights")
    assert inherited == {"containerInsights": "enhanced"}
    assert settings(ecs, name="containerInsights", value="disabled") == {}
    deleted = ecs.delete_account_setting(name="containerInsights")["setting"]
    assert deleted["value"] == "disabled"
    assert settings(ecs) == {}


def test_defaults_are_roots(ecs):
    ecs.put_account_setting_default(name="awsvpcTrunking", value="enabled")
    assert settings(ecs, name="awsvpcTrunking") == {"awsvpcTrunking": "enabled"}
    ecs.delete_account_setting(name="awsvpcTrunking")


def test_what_is_refused(refused):
    invalid = "InvalidParameterException"
    assert refused("put_account_setting", name="nothing", value="enabled")[0] == invalid
    assert refused("put_account_setting", name="containerInsights", value="perhaps")[0] == invalid
    assert refused("put_account_setting", name="taskLongArnFormat", value="disabled")[0] == invalid
    assert refused("put_account_setting", name="containerInsights", value="enabled", principalArn="me")[0] == invalid
    assert refused("list_account_settings", value="enabled")[0] == invalid
