"""Workers: processes in namespaces of their own, which look at one box after the other."""

import json
import os
import subprocess
import sys
import time

import box
import cut
import images
import workload

HERE = os.path.dirname(os.path.abspath(__file__))


def work(setup):
    """What a worker does until its standard input ends."""
    setup = json.loads(setup)
    place = box.Box(setup["binary"], setup["work"], setup["registry"], setup["cgroup"])
    known, life, medium = images.known(), None, None
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        wanted = json.loads(line)
        begun = time.monotonic()
        if life != wanted["life"]:
            life = wanted["life"]
            medium = cut.Medium(f"{life}/base", f"{life}/recording", f"{setup['work']}/scratch")
            with open(f"{life}/life.json") as file:
                told = json.load(file)
        one = cut.Cut(**wanted["cut"])
        path = f"{setup['work']}/image"
        pending = medium.image(one, path)
        lines = medium.lines(one)
        model = workload.Model(told["model"])
        model.hear(lines, told["operations"])
        made = time.monotonic() - begun
        try:
            wrong, times = place.check(path, model, known)
        except Exception as error:  # noqa: BLE001
            wrong, times = [f"the check itself failed: {type(error).__name__}: {error}"], {}
        phase = next((told["operations"][int(l.split()[1])][0] for l in reversed(lines) if l.startswith("TRY ")), "first start")
        done = {
            "number": one.number, "wrong": wrong, "phase": phase, "pending": pending, "made": made,
            "seconds": time.monotonic() - begun, "times": times, "model": model.allowed,
        }  # fmt: skip
        print(json.dumps(done), flush=True)
    place.close()


class Worker:
    """The other end of a worker."""

    def __init__(self, number, options, work, registry):
        self.work = f"{work}/worker{number}"
        os.mkdir(self.work)
        setup = {
            "binary": options.binary,
            "work": self.work,
            "registry": registry,
            "cgroup": f"powercut-{os.getpid()}-{number}",
        }
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
             sys.executable, os.path.join(HERE, "run"), "--worker", json.dumps(setup)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.ready = False

    def ask(self, life, one):
        try:
            if not self.ready:
                self.ready = bool(self.process.stdout.readline())
            self.process.stdin.write(json.dumps({"life": life, "cut": one.as_json()}) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, ValueError):
            return {"number": one.number, "wrong": ["the worker ended"], "phase": "-", "pending": 0, "seconds": 0, "times": {}, "model": {}}

    def close(self):
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
