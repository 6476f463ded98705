"""`@aws-sdk/client-ecs`, the AWS SDK for JavaScript: tests/clients/node has what it does.

CORACLE_NODE names the directory where `npm ci` has put it; tests/run does that.
"""

import os
import pathlib
import shutil
import subprocess

import pytest

from conftest import PATIENCE, ROOT

SCRIPT = ROOT / "tests" / "clients" / "node" / "ecs.mjs"


def test_what_the_sdk_for_javascript_does(agent, sleeper, name, tmp_path):
    modules = os.environ.get("CORACLE_NODE")
    if not modules:
        why = os.environ.get("CORACLE_NODE_MISSING") or "CORACLE_NODE does not name a directory with @aws-sdk/client-ecs"
        pytest.skip(why)
    # A module is looked for beside the script that wants it.
    (tmp_path / "node_modules").symlink_to(pathlib.Path(modules) / "node_modules")
    script = shutil.copy(SCRIPT, tmp_path)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL_ECS": agent.endpoint,
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": agent.key.access_key,
        "AWS_SECRET_ACCESS_KEY": agent.key.secret_key,
        "AWS_EC2_METADATA_DISABLED": "true",
        "FAMILY": sleeper["family"],
        "NAME": f"js-{name}",
    }
    done = subprocess.run(["node", "--test-reporter=tap", script], env=environment, capture_output=True, text=True, timeout=10 * PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# fail 0" in done.stdout, done.stdout
