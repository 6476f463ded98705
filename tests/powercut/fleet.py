"""The life of a box as a member of a fleet: a real hub with its broker runs beside the guest and gives it documents.

What the hub is asked for here has the form of the guest's own operations, so that the same model holds it: `TRY n` before the
hub is asked, `ACK n` once the hub knows that the box has committed the document.
"""

import json
import random
import subprocess
import time

import box
import workload

PATIENCE = 90


class Hub:
    """`coracle hub` on the address that the guest knows as 10.0.2.2."""

    def __init__(self, binary, work):
        self.run, self.log = f"{work}/hub-run", f"{work}/hub.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [binary, "hub", "--state-dir", f"{work}/hub", "--run-dir", self.run, "--listen", "127.0.0.1:51678",
                 "--mqtt-listen", "127.0.0.1:8883", "--mqtt-advertise", "10.0.2.2:8883"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self.until("the hub to answer", lambda: self.nodes() is not None)
        self.token = self.ask("POST", "tokens", {"cluster": "default"})["token"]

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def ask(self, method, path, content=None):
        return box.request(method, f"/coracle/v1/{path}", content, socket_of=self.run)

    def call(self, operation, **content):
        return box.call(operation, socket_of=self.run, **content)

    def nodes(self):
        try:
            return self.ask("GET", "nodes")["nodes"]
        except (OSError, box.Refused):
            return None

    def until(self, what, holds):
        """Another process is waited for; it is asked."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise box.Wrong(f"gave up waiting for {what}: {box.tail(self.log)}")
            time.sleep(0.02)

    def document(self):
        """The newest document, and the one that the box has committed."""
        devices = [node["device"] for node in self.nodes() or [] if node.get("device")]
        return (devices[0].get("document"), devices[0].get("seen")) if devices else (None, None)

    def committed(self, before):
        """Whether there is a document after that one, and the box has it."""
        newest, seen = self.document()
        return newest is not None and newest != before and newest == seen


class Round:
    """What the hub is asked for in one life of the guest; as [`workload.Round`]."""

    def __init__(self, number, seed, ours, hub):
        rng = random.Random(f"{seed}/fleet{number}")
        self.hub, self.files = hub, {}
        self.operations = [["join", "http://10.0.2.2:51678", hub.token]]
        running = 0
        for _ in range(10):
            if running and rng.random() < 0.4:
                self.operations.append(["unassign"])
                running -= 1
            else:
                self.operations.append(["assign", rng.choice((ours.carried.name, ours.registry[0].name))])
                running += 1
        self.asked = len(self.operations) - rng.randrange(3)
        self.moment = rng.uniform(0.0, 0.5)

    def guest(self):
        """The guest's own part."""
        return self.operations[:1]

    def beside(self, say):
        """Asks the hub for one thing after the other."""
        self.hub.until("the box to be connected", lambda: any(node["agentConnected"] for node in self.hub.nodes() or []))
        tasks = []
        for number, (verb, *arguments) in list(enumerate(self.operations))[1 : self.asked]:
            if verb == "assign":
                content = workload.definition(f"fleet{number}", arguments[0], workload.STAY, "none", {"memory": 6})
                self.hub.call("RegisterTaskDefinition", **content)
            before, _ = self.hub.document()
            say(f"TRY {number}")
            if verb == "assign":
                answer = self.hub.call("RunTask", taskDefinition=f"fleet{number}")
                if not answer["tasks"]:
                    raise box.Wrong(f"the hub places no task: {json.dumps(answer)[:500]}")
                task = box.short(answer["tasks"][0]["taskArn"])
                tasks.append(task)
            else:
                task = tasks.pop(0)
                self.hub.call("StopTask", task=task)
            self.hub.until("the box to commit a document", lambda before=before: self.hub.committed(before))
            say(f"ACK {number} {task}")
        time.sleep(self.moment)
