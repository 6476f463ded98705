"""A box after a power cut: the agent on the disk that was left, in namespaces of its own, and what must be true of it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import images
import workload

STATE, RUN = "/var/lib/coracle", "/run/coracle"
# How long anything may take.
PATIENCE = 60

# The copy that the agent makes at its start and daily.
NEW_COPY = "store/copies/last-good.mdb.new"

# All that may be in the state directory, by its path in it.
KNOWN = re.compile(
    r"""(
    lost\+found
  | keys(/[a-z0-9.-]+)?
  | secret\.key
  | fleet(/[a-z0-9._-]+)?
  | registries\.json
  | store(/(data\.mdb|lock\.mdb|agent\.lock|copies(/[a-z0-9.-]+\.mdb)?))?
  | images(/(oci-layout|index\.json|index\.lock|store\.lock|directory\.json|usage\.json|collect\.lock|reserve
      |blobs(/sha256(/[0-9a-f]{64})?)?|partial(/[0-9a-f]{64})?|tmp
      |layers(/(store\.lock|[0-9a-f]{64}(/.*)?))?))?
  | layers(/(store\.lock|[0-9a-f]{64}(/.*)?))?
  | tasks(/[0-9a-f]+(/(task\.json|[a-z]+\.exit|[a-z]+(/.*)?|volumes\.d(/.*)?))?)?
  | logs(/(forwarded\.to|[0-9a-f]+(/([a-z]+\.log(\.[0-9]+)?|forwarded\.json))?))?
  | volumes(/.*)?
  | network(\.json|/.*)?
    )""",
    re.VERBOSE,
)


class Wrong(Exception):
    """Something is not as it must be."""


class Refused(Exception):
    """The agent answered with an error."""


def call(operation, socket_of=RUN, **content):
    """An ECS operation, over the socket."""
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": f"AmazonEC2ContainerServiceV20141113.{operation}",
    }
    return request("POST", "/", content, headers, socket_of)


def request(method, path, content=None, headers=None, socket_of=RUN):
    """A request over the socket; of several lines of JSON the last."""
    last = None
    for last in stream(method, path, content, headers, socket_of):
        pass
    return last


def stream(method, path, content=None, headers=None, socket_of=RUN):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(f"{socket_of}/api.sock")
        body = b"" if content is None else json.dumps(content).encode()
        head = {"Host": "coracle", "Content-Length": len(body), "Content-Type": "application/json", **(headers or {})}
        text = f"{method} {path} HTTP/1.0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in head.items()) + "\r\n"
        connection.sendall(text.encode() + body)
        with connection.makefile("rb") as answer:
            status = answer.readline().split()
            while answer.readline().strip():
                pass
            if len(status) < 2 or status[1] != b"200":
                raise Refused(answer.read().decode(errors="replace"))
            for line in answer:
                if line.strip():
                    yield json.loads(line)


def short(arn):
    return arn.rsplit("/", 1)[-1]


class Box:
    """A place where agents can be started; made once per worker, in namespaces that are its own."""

    def __init__(self, binary, work, registry_data, cgroup):
        self.binary, self.work, self.cgroup = binary, work, cgroup
        run = lambda *command: subprocess.run(command, check=True, capture_output=True)
        run("mount", "--make-rprivate", "/")
        run("mount", "-t", "tmpfs", "tmpfs", "/run")
        run("mount", "-t", "tmpfs", "tmpfs", "/var/lib")
        os.mkdir(STATE)
        run("ip", "link", "set", "lo", "up")
        # The registry has the same address that the guest knows it by.
        run("ip", "addr", "add", "10.0.2.2/32", "dev", "lo")
        self.links = self.network()
        self.registry = Registry(registry_data, work)
        with open(f"{work}/agent.toml", "w") as file:
            file.write(f'manifests = "{work}/none"\nimages = "{work}/images.d"\n')
            file.write('[registries."10.0.2.2:5000"]\ninsecure = true\n')

    def close(self):
        self.registry.close()

    def network(self):
        return {link["ifname"] for link in json.loads(subprocess.check_output(["ip", "-j", "link"]))}

    def mounts(self):
        with open("/proc/self/mounts") as file:
            points = [line.split()[1] for line in file]
        return [point for point in points if point.startswith((STATE + "/", RUN))]

    def groups(self):
        roots = ["/sys/fs/cgroup"] + [f"/sys/fs/cgroup/{name}" for name in os.listdir("/sys/fs/cgroup")]
        return [f"{root}/{self.cgroup}" for root in roots if os.path.isdir(f"{root}/{self.cgroup}")]

    def check(self, image, model, known_images):
        """Everything that must be true of the image of a disk; the list of what is not."""
        self.wrong = []
        try:
            subprocess.run(["mount", "-o", "loop", image, STATE], check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            return [f"the file system cannot be mounted: {error.stderr.strip()}"], {}
        self.times = {}
        started = time.monotonic()
        try:
            agent = Agent(self)
            try:
                self.times["start"] = time.monotonic() - started
                self.after_the_cut(model, known_images)
                self.times["check"] = time.monotonic() - started
                self.end_everything()
                self.times["end"] = time.monotonic() - started
            finally:
                if code := agent.stop():
                    self.wrong.append(f"the agent ended with {code}")
            self.nothing_is_left()
        except (Wrong, Refused, OSError, KeyError, ValueError) as error:
            self.wrong.append(f"{type(error).__name__}: {error}")
        finally:
            if self.wrong:
                self.wrong.append("the agent's log: " + tail(f"{self.work}/agent.log"))
            self.clear()
        self.wrong += invariants(f"{self.work}/agent.log")
        return self.wrong, self.times

    def must(self, condition, text):
        if not condition:
            self.wrong.append(text)

    # What must be true once the agent has started.

    def after_the_cut(self, model, known_images):
        for key, values in model.allowed.items():
            kind, name = key.split("/", 1)
            if kind != "image":
                getattr(self, f"check_{kind}")(name, values)
        self.check_images(model, known_images)
        self.check_tasks()
        self.check_secrets_open(model)
        self.check_logs()
        self.check_reserve()
        self.check_files("after the start")

    def check_key(self, _, values):
        found = request("GET", "/coracle/v1/credentials")["accessKeyId"]
        self.must(found in values, f"the access key is {found}, not {values}")

    def check_definition(self, name, values):
        try:
            found = call("DescribeTaskDefinition", taskDefinition=name)["taskDefinition"]
        except Refused:
            self.must(None in values, f"the task definition {name} was acknowledged and is gone")
            return
        family = name.partition(":")[0]
        self.must(found["family"] == family and found["containerDefinitions"], f"the task definition {name} is half there")

    def check_secret(self, name, values):
        found = [secret["name"] for secret in request("GET", "/coracle/v1/secrets")["secrets"]]
        self.must(name in found or None in values, f"the secret {name} was acknowledged and is gone")

    def check_volume(self, name, values):
        found = [volume["name"] for volume in request("GET", "/coracle/v1/volumes")["volumes"]]
        self.must(name in found or None in values, f"the volume {name} was acknowledged and is gone")

    def check_service(self, name, values):
        found = [s for s in call("DescribeServices", services=[name])["services"] if s["status"] == "ACTIVE"]
        if not found:
            self.must(None in values, f"the service {name} is gone and may only be {values}")
            return
        value = [found[0]["taskDefinition"].rsplit("/", 1)[-1], found[0]["desiredCount"]]
        if value not in values:
            self.wrong.append(f"the service {name} is {value} and may only be {values}")
            return
        steady = lambda s: s["runningCount"] == value[1] and len(s["deployments"]) == 1 and s["pendingCount"] == 0
        self.until(f"/coracle/v1/services/watch?service={name}", steady, f"the service {name} does not come back")

    def check_task(self, task, values):
        found = call("DescribeTasks", tasks=[task])["tasks"]
        if not found:
            self.wrong.append(f"the task {task} was acknowledged and is gone")
            return
        found = found[0]
        wanted = [status for status, _ in values]
        if found["desiredStatus"] == "STOPPED" and "STOPPED" not in wanted:
            self.wrong.append(f"the task {task} is to be {found['desiredStatus']}, not {wanted}: {found.get('stoppedReason')}")
            return
        if "RUNNING" not in wanted and found["desiredStatus"] != "STOPPED":
            self.wrong.append(f"the task {task} is to be {found['desiredStatus']}, not {wanted}")
            return
        there = self.until(
            f"/coracle/v1/tasks/{task}/watch",
            lambda t: t["lastStatus"] in wanted or t["lastStatus"] == "STOPPED",
            f"the task {task} does not become {wanted}",
        )
        codes = [code for _, code in values if code is not None]
        code = there["containers"][0].get("exitCode")
        self.must(not codes or code in codes, f"the task {task} ended with {code}, not {codes}")

    def check_fleet(self, name, values):
        if name == "member":
            member = bool(request("GET", "/coracle/v1/nodes/this").get("membership"))
            self.must(("here" if member else None) in values, f"the box is {'a' if member else 'no'} member, which may only be {values}")
            return
        tasks = call("DescribeTasks", tasks=call("ListTasks")["taskArns"])["tasks"] if call("ListTasks")["taskArns"] else []
        found = sorted(short(task["taskArn"]) for task in tasks)
        # Of a task that was on its way only the hub knows the name.
        fits = lambda value: set(value) - {"?"} <= set(found) and len(value) == len(found)
        self.must(any(fits(value or []) for value in values), f"the fleet's tasks are {found} and may only be {values}")

    def until(self, path, holds, what):
        """Follows something until it is as wanted."""
        last, deadline = None, time.monotonic() + PATIENCE
        try:
            for last in stream("GET", path):
                if holds(last):
                    return last
                if time.monotonic() > deadline:
                    break
        except (TimeoutError, Refused):
            pass
        raise Wrong(f"{what}: {json.dumps(last)[:1500]}")

    def check_images(self, model, known_images):
        listed = {image["name"]: image for image in request("GET", "/coracle/v1/images")["images"]}
        by_name = lambda name: next((found for full, found in listed.items() if full == name or full.endswith(f"/{name}")), None)
        for key, values in model.allowed.items():
            kind, name = key.split("/", 1)
            if kind == "image":
                self.must(by_name(name) or None in values, f"the image {name} was acknowledged and is gone")
                self.must(not by_name(name) or "here" in values, f"the image {name} was removed and is there again")
        for name, image in known_images.items():
            if by_name(name):
                self.check_blobs(image)
            elif not name.startswith("10.0.2.2:5000/"):
                continue
            elif f"image/{name}" in model.allowed and "here" in model.allowed[f"image/{name}"]:
                # It was on its way: it is brought anew.
                told = request("POST", "/coracle/v1/images/pull", {"image": name})
                self.must("error" not in told, f"the image {name} cannot be pulled again: {told}")
                self.check_blobs(image)
        self.check_layers(known_images)

    def check_blobs(self, image):
        for blob in image.blobs():
            digest = images.sha256(blob)
            try:
                with open(f"{STATE}/images/blobs/sha256/{digest}", "rb") as file:
                    self.must(file.read() == blob, f"the blob {digest} of {image.name} is damaged")
            except FileNotFoundError:
                self.wrong.append(f"the blob {digest} of {image.name} is missing")

    def check_layers(self, known_images):
        directory = f"{STATE}/layers" if os.path.isdir(f"{STATE}/layers") else f"{STATE}/images/layers"
        known = {}
        for image in known_images.values():
            known.update(image.chains())
        for chain in os.listdir(directory) if os.path.isdir(directory) else []:
            if chain in known:
                wrong = images.differences(known[chain], f"{directory}/{chain}")
                self.must(not wrong, f"the layer {chain} is not whole: {'; '.join(wrong[:3])}")

    def check_reserve(self):
        """What the image store keeps for a full disk is as large as it is to be."""
        size = os.path.getsize(f"{STATE}/images/reserve")
        self.must(size == 128 << 10, f"images/reserve has {size} bytes")

    def check_secrets_open(self, model):
        """A secret that was acknowledged can be read by a container."""
        sure = [key for key, values in model.allowed.items() if key.startswith("secret/") and values == ["here"]]
        if not sure or model.allowed.get("image/powercut/first:1") != ["here"]:
            return
        name = sure[-1].removeprefix("secret/")
        secret = {"secrets": [{"name": "SECRET", "valueFrom": name}]}
        content = workload.definition("opened", "powercut/first:1", f'[ "$SECRET" = "value of {name}" ] && exit 7', "none", secret, executionRoleArn="arn:aws:iam::000000000000:role/execution")
        call("RegisterTaskDefinition", **content)
        task = short(call("RunTask", taskDefinition="opened")["tasks"][0]["taskArn"])
        ended = self.until(f"/coracle/v1/tasks/{task}/watch", lambda t: t["lastStatus"] == "STOPPED", f"the task {task} does not end")
        code = ended["containers"][0].get("exitCode")
        self.must(code == 7, f"a container finds another value of the secret {name}: {code}, {ended.get('stoppedReason')}")

    def check_tasks(self):
        """Whatever was on its way either runs or has ended."""
        for arn in call("ListTasks")["taskArns"]:
            task = short(arn)
            self.until(
                f"/coracle/v1/tasks/{task}/watch",
                lambda t: t["lastStatus"] in ("RUNNING", "STOPPED"),
                f"the task {task} comes to nothing",
            )

    def check_logs(self):
        """Every line of the numbered ones is whole, and they come in their order."""
        for task in os.listdir(f"{STATE}/logs"):
            try:
                lines = list(stream("GET", f"/coracle/v1/logs?task={task}"))
            except Refused as error:
                # The task was never committed, or is forgotten.
                self.must("no task" in str(error) or "not found" in str(error).lower(), f"the log of {task}: {error}")
                continue
            before = 0
            for line in lines:
                numbered = re.fullmatch(r"(\d+) the quick brown fox jumps over the lazy dog (\d+)\n?", line.get("log", ""))
                if numbered is None:
                    odd = line.get("log", "")
                    self.must("fox" not in odd and "\0" not in odd, f"the log of {task} has the line {odd!r}")
                    continue
                number = int(numbered[1])
                self.must(numbered[1] == numbered[2], f"the log of {task} has the line {line['log']!r}")
                # After the cut the container counts from 1 again.
                self.must(number > before or number == 1, f"the log of {task} has line {number} after {before}")
                before = number

    def check_files(self, when):
        for directory, folders, files in os.walk(STATE):
            for name in folders + files:
                path = os.path.relpath(os.path.join(directory, name), STATE)
                if path == NEW_COPY and when == "after the start":
                    # One that is being made. That none stays the end tells.
                    continue
                if not KNOWN.fullmatch(path):
                    self.wrong.append(f"{when} there is {path}, which nobody knows")
            if os.path.relpath(directory, STATE).count("/") >= 2:
                folders.clear()

    # What must be true once everything was asked to end.

    def end_everything(self):
        if request("GET", "/coracle/v1/nodes/this").get("membership"):
            # Without a hub that could be asked: this one is gone. The cluster was its own.
            tasks = [short(arn) for arn in call("ListTasks")["taskArns"]]
            request("POST", "/coracle/v1/leave", {})
            for task in tasks:
                if call("DescribeTasks", tasks=[task])["tasks"]:
                    self.until(f"/coracle/v1/tasks/{task}/watch", lambda t: t["lastStatus"] == "STOPPED", f"the task {task} does not end")
        for arn in call("ListServices")["serviceArns"]:
            call("DeleteService", service=arn, force=True)
        for arn in call("ListTasks")["taskArns"]:
            call("StopTask", task=arn)
        # A service that is on its way out may have begun one more.
        for arn in call("ListTasks")["taskArns"] + call("ListTasks", desiredStatus="STOPPED")["taskArns"]:
            task = short(arn)
            try:
                self.until(f"/coracle/v1/tasks/{task}/watch", lambda t: t["lastStatus"] == "STOPPED", f"the task {task} does not end")
            except Wrong as error:
                # Only what is there can end.
                if call("DescribeTasks", tasks=[task])["tasks"]:
                    raise error

    def nothing_is_left(self):
        self.must(not self.groups(), f"control groups are left: {self.groups()}")
        self.must(not self.mounts(), f"mounts are left: {self.mounts()}")
        links = self.network() - self.links
        self.must(not links, f"links are left: {sorted(links)}")
        for directory in (f"{STATE}/images/tmp", f"{RUN}/tasks"):
            left = os.listdir(directory) if os.path.isdir(directory) else []
            self.must(not left, f"{directory} has {left[:5]}")
        for task in os.listdir(f"{STATE}/tasks"):
            left = [name for name in os.listdir(f"{STATE}/tasks/{task}") if os.path.isdir(f"{STATE}/tasks/{task}/{name}")]
            self.must(not left, f"the stopped task {task} has still {left}")
        self.check_files("in the end")
        # The last of them may still be on its way out.
        deadline = time.monotonic() + 5
        while (left := processes()) and time.monotonic() < deadline:
            reap()
            time.sleep(0.01)
        self.must(not left, f"processes are left: {[named(pid) for pid in left]}")

    def clear(self):
        """Whatever became of it: the next cut finds nothing of this one."""
        deadline = time.monotonic() + PATIENCE
        while (left := processes()) and time.monotonic() < deadline:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            reap()
            time.sleep(0.01)
        for group in self.groups():
            for directory, _, _ in os.walk(group, topdown=False):
                try:
                    os.rmdir(directory)
                except OSError:
                    pass
        for point in reversed(self.mounts()):
            subprocess.run(["umount", "-l", point], capture_output=True)
        shutil.rmtree(RUN, ignore_errors=True)
        for link in self.network() - self.links:
            subprocess.run(["ip", "link", "del", link], capture_output=True)
        subprocess.run(["nft", "flush", "ruleset"], capture_output=True)
        if subprocess.run(["umount", STATE], capture_output=True).returncode != 0:
            self.wrong.append("the file system is in use in the end")
            subprocess.run(["umount", "-l", STATE], capture_output=True)


class Agent:
    """One life of the agent; returns when it is ready."""

    def __init__(self, box):
        notify = f"{box.work}/notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            if os.path.exists(notify):
                os.remove(notify)
            ready.bind(notify)
            ready.settimeout(0.25)
            with open(f"{box.work}/agent.log", "wb") as log:
                self.process = subprocess.Popen(
                    [box.binary, "agent", "--config", f"{box.work}/agent.toml", "--cgroup-parent", box.cgroup],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={"PATH": os.environ["PATH"], "NOTIFY_SOCKET": notify},
                )
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    if b"READY=1" in ready.recv(4096):
                        return
                except TimeoutError:
                    if self.process.poll() is not None:
                        raise Wrong("the agent does not start") from None
                    if time.monotonic() > deadline:
                        self.stop()
                        raise Wrong("the agent does not become ready") from None

    def stop(self):
        """Asks it to end; its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return "SIGKILL, since it did not end"


class Registry:
    """Debian's docker-registry on 5000."""

    def __init__(self, data, work):
        with open(f"{work}/registry.yml", "w") as file:
            file.write(
                f"version: 0.1\nlog: {{level: info, formatter: text}}\nstorage: {{filesystem: {{rootdirectory: {data}}}}}\n"
                'http: {addr: ":5000", secret: test}\n'
            )
        self.process = subprocess.Popen(
            ["docker-registry", "serve", f"{work}/registry.yml"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
        )
        said = b""
        for line in self.process.stderr:
            said += line
            if b"listening on" in line:
                break
        else:
            raise Wrong(f"docker-registry does not start: {said.decode(errors='replace')[-500:]}")
        # Or it would wait for somebody to read.
        self.drain = subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=subprocess.DEVNULL)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.drain.wait()


def processes():
    """The pids that nobody here has started on purpose: containers and shims. The worker has a process namespace of its own."""
    own, found = os.getpid(), []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                command, _, rest = file.read().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if rest.split()[0] != "Z" and int(name) not in (1, own) and command.split("(", 1)[1] not in ("docker-registry", "cat"):
            found.append(int(name))
    return found


def named(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return str(pid)


def reap():
    """Whoever lost its parent is the worker's."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def tail(path):
    with open(path, errors="replace") as file:
        return "".join(file.readlines()[-15:])


def invariants(path):
    """What a debug build says of itself."""
    with open(path, errors="replace") as file:
        return [line.strip() for line in file if "an invariant does not hold" in line or "panicked" in line]
