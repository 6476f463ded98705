"""A real agent, spoken to as users do: boto3, the AWS CLI, signed and unsigned HTTP.

CORACLE_BIN names the binary under test. Every answer that these tests get is held against the output shapes of
botocore's model (output_shapes.py). With `--target=hub` it is `coracle hub --simulate` that is asked, with one simulated
instance; tests that need a box (marked `box`) are skipped then.
"""

import http.client
import itertools
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

import inputs
import output_shapes

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 60
TARGET = "AmazonEC2ContainerServiceV20141113."


class Agent:
    """A running `coracle agent` with directories, a port and a cgroup of its own."""

    account, region = "000000000000", "local"

    def __init__(self, binary, directory):
        self.binary = binary
        self.state_dir = directory / "state"
        self.run_dir = directory / "run"
        self.log = directory / "agent.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(directory / "notify"))
        self.notify.settimeout(PATIENCE)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [binary, *self.arguments()],
                env={**os.environ, "NOTIFY_SOCKET": str(directory / "notify")},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        try:
            while b"READY=1" not in self.notify.recv(4096):
                pass
            self.key = self.read_key()
        except (OSError, ValueError) as error:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"the agent did not come up:\n{self.log.read_text()}") from error
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def arguments(self):
        return [
            "agent",
            "--state-dir", self.state_dir, "--run-dir", self.run_dir,
            "--listen", f"127.0.0.1:{self.port}",
            "--cgroup-parent", f"coracle-api-{os.getpid()}-{self.port}",
            "--stop-tasks-on-exit",
        ]

    def read_key(self):
        key = json.loads((self.state_dir / "keys" / "root.json").read_text())
        return botocore.credentials.Credentials(key["accessKeyId"], key["secretAccessKey"])

    def stop(self):
        self.process.terminate()
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.notify.close()
        assert code == 0, self.log.read_text()

    def cli(self, *arguments):
        """A client verb of `coracle`; its standard output."""
        command = [self.binary, *arguments, "--run-dir", self.run_dir]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def client(self, **changes):
        """A boto3 client; every answer it gets is checked against the model."""
        arguments = {
            "endpoint_url": self.endpoint,
            "region_name": "eu-central-1",
            "aws_access_key_id": self.key.access_key,
            "aws_secret_access_key": self.key.secret_key,
            "config": botocore.config.Config(retries={"total_max_attempts": 1}),
            **changes,
        }
        client = boto3.client("ecs", **arguments)
        client.meta.events.register("after-call.ecs", output_shapes.check)
        return client

    def aws(self, *arguments, code=0):
        """The AWS CLI's `aws ecs …` with the environment of `coracle env`; its JSON, or its standard error."""
        foreign = ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION")
        environment = {
            **{name: value for name, value in os.environ.items() if name not in foreign},
            **json.loads(self.cli("env", "--output", "json")),
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_PAGER": "",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        command = ["aws", "ecs", *arguments, "--output", "json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10 * PATIENCE)
        assert done.returncode == code, done.stderr
        if code:
            return done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    def signed(self, method, path, headers, body, key=None, service="ecs", region="anywhere"):
        """The headers of a request as botocore signs it."""
        request = botocore.awsrequest.AWSRequest(method=method, url=self.endpoint + path, headers=headers, data=body)
        signer = botocore.auth.SigV4Auth(key or self.key, service, region)
        signer.add_auth(request)
        return {**dict(request.headers.items()), "Host": f"127.0.0.1:{self.port}"}

    def send(self, method, path, headers, body):
        """One HTTP request as it is: status, headers, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def call(self, operation, body, headers=None):
        """A signed call with any body: status, headers, JSON."""
        if not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        headers = {"X-Amz-Target": TARGET + operation, "Content-Type": "application/x-amz-json-1.1", **(headers or {})}
        status, answer, content = self.send("POST", "/", self.signed("POST", "/", headers, body), body)
        content = json.loads(content)
        if operation in inputs.OPERATIONS:
            output_shapes.answer(inputs.model(operation), status, answer, content)
        return status, answer, content

    def local(self, method, path, body=None):
        """A request over the unix socket: status, body."""
        connection = http.client.HTTPConnection("localhost", timeout=PATIENCE)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(PATIENCE)
        connection.sock.connect(str(self.run_dir / "api.sock"))
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


class Hub(Agent):
    """A running `coracle hub --simulate`, with one simulated instance in its cluster."""

    def __init__(self, binary, directory):
        super().__init__(binary, directory)
        resources = [
            {"name": "CPU", "type": "INTEGER", "integerValue": 16_384},
            {"name": "MEMORY", "type": "INTEGER", "integerValue": 65_536},
            {"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22"]},
            {"name": "PORTS_UDP", "type": "STRINGSET", "stringSetValue": []},
        ]
        self.client().register_container_instance(cluster="default", totalResources=resources)

    def arguments(self):
        return [
            "hub", "--simulate",
            "--state-dir", self.state_dir, "--run-dir", self.run_dir,
            "--listen", f"127.0.0.1:{self.port}",
            "--account", self.account, "--region", self.region,
        ]

    def read_key(self):
        # A simulating hub checks no signatures.
        return botocore.credentials.Credentials("any", "thing")


def pytest_addoption(parser):
    parser.addoption("--target", choices=("agent", "hub"), default="agent", help="what is tested")


def pytest_configure(config):
    config.addinivalue_line("markers", "box: needs a real box, which a simulating hub has not")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--target") == "hub":
        for item in items:
            if item.get_closest_marker("box"):
                item.add_marker(pytest.mark.skip(reason="a simulating hub has no box"))


@pytest.fixture(scope="session")
def target(request):
    return request.config.getoption("--target")


@pytest.fixture(scope="session")
def agent(target):
    binary = os.environ.get("CORACLE_BIN")
    if not binary:
        pytest.skip("CORACLE_BIN does not name the binary under test")
    if target == "agent" and os.geteuid() != 0:
        pytest.skip("the agent needs root")
    directory = pathlib.Path(tempfile.mkdtemp(prefix="coracle-api-", dir="/var/tmp"))
    agent = (Hub if target == "hub" else Agent)(binary, directory)
    try:
        yield agent
        agent.stop()
    finally:
        if agent.process.poll() is None:
            agent.process.kill()
            agent.process.wait()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def ecs(agent):
    return agent.client()


@pytest.fixture(scope="session")
def busybox(agent, target):
    """The name of an image with a shell, in the agent's store."""
    if target == "agent":
        agent.cli("image", "build", str(ROOT / "images" / "busybox"))
    return "coracle/busybox"


_numbers = itertools.count(1)


@pytest.fixture
def name():
    """A name that no other test uses."""
    return f"test-{next(_numbers)}"


@pytest.fixture
def cluster(ecs, name):
    """A cluster of its own, without container instances."""
    return ecs.create_cluster(clusterName=f"cluster-of-{name}")["cluster"]["clusterName"]


@pytest.fixture
def define(ecs, name, target):
    """Registers a one-container definition and returns it."""
    # The image that is not named exits at once; a simulation has to be told.
    exits = {"dockerLabels": {"coracle.simulate.exits-after": "100ms"}} if target == "hub" else {}

    def define(family=name, tags=(), definition=None, **container):
        if "image" not in container:
            container = {"image": "coracle/hello", **exits, **container}
        container = {"name": "main", "memory": 16, **container}
        definition = {"networkMode": "none", **(definition or {})}
        answer = ecs.register_task_definition(
            family=family, containerDefinitions=[container], tags=list(tags), **definition
        )
        return answer["taskDefinition"]

    return define


@pytest.fixture
def sleeper(define, busybox):
    """A definition of a task that runs until it is stopped."""
    return define(image=busybox, command=["sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"])


def wait(ecs, state, tasks, **more):
    """Waits as the SDK's waiters do, only quicker; then the tasks."""
    waiter = ecs.get_waiter(f"tasks_{state}")
    waiter.wait(tasks=tasks, WaiterConfig={"Delay": 0.1, "MaxAttempts": PATIENCE * 10}, **more)
    return ecs.describe_tasks(tasks=tasks, **more)["tasks"]


@pytest.fixture
def wait_for(ecs):
    return lambda state, tasks, **more: wait(ecs, state, tasks, **more)


@pytest.fixture
def refused(ecs):
    """Calls and returns `(exception, message, HTTP status)` of the error that must come."""

    def refused(operation, client=None, **arguments):
        with pytest.raises(botocore.exceptions.ClientError) as error:
            getattr(client or ecs, operation)(**arguments)
        answer = error.value.response
        return answer["Error"]["Code"], answer["Error"]["Message"], answer["ResponseMetadata"]["HTTPStatusCode"]

    return refused
