"""What the guest is asked to do, as a list of operations, and what may be true of the box after some of them.

An operation is a list: a verb and its arguments, as guest/workload takes them. The guest says `TRY n` before it begins
operation n and `ACK n RESULT` once it was acknowledged. A [`Model`] keeps, for each thing that can be asked for, all
values that it may have: one after an acknowledgement, two while an operation is on its way.
"""

import json
import random

# Ends at once when it is asked to.
STAY = 'trap "exit 0" TERM; while :; do sleep 1000 & wait $!; done'
# Numbered lines of some length, so many that the log rotates all the time.
CHATTER = (
    'trap "exit 0" TERM; i=0; while :; do i=$((i+1)); echo "$i the quick brown fox jumps over the lazy dog $i";'
    " [ $((i % 25)) != 0 ] || { usleep 150000 & wait $!; }; done"
)


def container(image, command, **more):
    return {
        "name": "main",
        "image": image,
        "essential": True,
        "memory": 24,
        "stopTimeout": 5,
        "command": ["sh", "-c", command],
        **more,
    }


def definition(family, image, command, mode="none", container_more=None, **more):
    main = container(image, command, **(container_more or {}))
    return {"family": family, "networkMode": mode, "containerDefinitions": [main], **more}


class Round:
    """The operations of one life of the guest, and the files that they name."""

    def __init__(self, number, seed, images, leftover):
        self.rng = random.Random(f"{seed}/round{number}")
        self.prefix = f"r{number}"
        self.images = images
        self.files, self.operations = {}, []
        # What earlier lives left goes, so that the guest's memory suffices.
        for key in leftover:
            kind, name = key.split("/", 1)
            if kind == "service":
                self.operations.append(["remove", name])
            elif kind == "task":
                self.operations.append(["quit", name])
        self.operations += [["key"], ["load", images.first.name]]
        parts = [
            self.services, self.pulls, self.loads, self.growth, self.ends, self.stops, self.chatter,
            self.secrets, self.volumes, self.carried,
        ]
        self.rng.shuffle(parts)
        # Last, since what was pruned may be what another part is to use.
        for part in [*parts, self.removals]:
            part()

    def add(self, *operation):
        self.operations.append(list(operation))

    def file(self, name, content):
        name = f"{self.prefix}-{name}.json"
        self.files[name] = json.dumps(content)
        return name

    def family(self, name):
        return f"{self.prefix}-{name}"

    def register(self, content, name):
        """Registers a revision; the files of one family are registered in their order."""
        self.add("register", self.file(name, content), content["family"])

    def services(self):
        family = self.family("web")
        modes = self.rng.choice(("bridge", "awsvpc", "none"))
        more = {} if modes != "bridge" else {"portMappings": [{"containerPort": 80}]}
        for revision in (1, 2):
            environment = {"environment": [{"name": "REVISION", "value": str(revision)}], **more}
            content = definition(family, "powercut/first:1", STAY, modes, environment)
            self.register(content, f"web{revision}")
        count = 2 if modes != "none" else 1
        self.service("web", f"{family}:1", count, modes)
        self.add("deploy", self.family("web"), f"{family}:2")
        self.add("steady", self.family("web"), str(count))
        self.add("scale", self.family("web"), str(self.rng.choice((1, 2, 3))))
        if self.rng.random() < 0.5:
            self.add("remove", self.family("web"))

    def service(self, name, revision, count, mode="none"):
        name = self.family(name)
        content = {"serviceName": name, "taskDefinition": revision, "desiredCount": count}
        if mode == "awsvpc":
            content["networkConfiguration"] = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}
        self.add("create", self.file(f"service-{name}", content), name, revision, str(count))

    def pulls(self):
        for name in self.rng.sample([image.name for image in self.images.registry], 2):
            self.add("pull", name)
        self.use(name)

    def use(self, name):
        """Runs a container that checks the image's files."""
        family = self.family(f"use{len(self.files)}")
        code = self.rng.randrange(1, 100)
        content = definition(family, name, f"sha256sum -s -c /sums && exit {code}")
        self.add("end", self.file(f"use{len(self.files)}", content), str(code))

    def loads(self):
        self.add("load", self.images.loaded.name)
        self.use(self.images.loaded.name)

    def carried(self):
        self.use(self.images.carried.name)

    def growth(self):
        """Definitions of some 20 kB, which make the store's file grow."""
        for number in range(4):
            environment = [{"name": f"N{n}", "value": self.rng.choice("abc") * 480} for n in range(40)]
            content = definition(self.family("large"), "powercut/first:1", STAY, "none", {"environment": environment})
            self.register(content, f"large{number}")

    def ends(self):
        for number in range(2):
            code = self.rng.randrange(1, 100)
            content = definition(self.family(f"end{number}"), "powercut/first:1", f"exit {code}")
            self.add("end", self.file(f"end{number}", content), str(code))

    def stops(self):
        for number in range(2):
            content = definition(self.family(f"stay{number}"), "powercut/first:1", STAY)
            self.add("start", self.file(f"stay{number}", content), self.family(f"stay{number}"))
        self.add("stop", self.family("stay0"))

    def chatter(self):
        log = {"logConfiguration": {"logDriver": "json-file", "options": {"max-size": "20k", "max-file": "3"}}}
        content = definition(self.family("chatter"), "powercut/first:1", CHATTER, "none", log)
        self.register(content, "chatter")
        self.service("chatter", f"{self.family('chatter')}:1", 1)

    def secrets(self):
        for number in range(2):
            self.add("secret", f"/{self.prefix}/secret{number}")

    def volumes(self):
        self.add("volume", self.family("volume"))

    def removals(self):
        name = self.rng.choice([image.name for image in self.images.registry])
        self.add("pull", name)
        self.add("unname", name)
        self.add("prune")


class Model:
    """What may be true of the box."""

    def __init__(self, allowed=None):
        self.allowed = json.loads(json.dumps(allowed or {}))
        # While an operation is on its way: what was allowed before it.
        self.before = None

    def copy(self):
        return Model(self.allowed)

    def hear(self, lines, operations):
        started = {}
        for line in lines:
            word, _, rest = line.partition(" ")
            number, _, result = rest.partition(" ")
            if word == "TRY":
                self.before = json.loads(json.dumps(self.allowed))
                self.change(operations[int(number)], None, started)
                for key, values in self.before.items():
                    for value in values:
                        if value not in self.allowed[key]:
                            self.allowed[key].append(value)
                for key in self.allowed:
                    if key not in self.before and None not in self.allowed[key]:
                        self.allowed[key].append(None)
            elif word == "ACK":
                self.allowed = self.before
                self.change(operations[int(number)], result.strip(), started)

    def change(self, operation, result, started):
        """Makes the operation's effect the only thing that is allowed. `result` is None before it is known."""
        verb, *arguments = operation
        put = lambda key, value: self.allowed.__setitem__(key, [value])
        if verb == "register":
            file, family = arguments
            known = [k for k in self.allowed if k.startswith(f"definition/{family}:") and None not in self.allowed[k]]
            put(f"definition/{family}:{len(known) + 1}", "here")
        elif verb == "create":
            _, name, revision, count = arguments
            put(f"service/{name}", [revision, int(count)])
        elif verb in ("deploy", "scale"):
            name, to = arguments
            key, index = f"service/{name}", 0 if verb == "deploy" else 1
            changed = [list(value) for value in self.allowed[key] if value]
            for value in changed:
                value[index] = to if verb == "deploy" else int(to)
            self.allowed[key] = changed
        elif verb == "remove":
            put(f"service/{arguments[0]}", None)
        elif verb == "pull" or verb == "load":
            put(f"image/{arguments[0]}", "here")
        elif verb == "unname":
            put(f"image/{arguments[0]}", None)
        elif verb == "join":
            put("fleet/member", "here")
            self.allowed.setdefault("fleet/tasks", [[]])
        elif verb == "assign":
            self.allowed["fleet/tasks"] = [sorted([*tasks, result or "?"]) for tasks in self.allowed["fleet/tasks"]]
        elif verb == "unassign":
            told = self.allowed["fleet/tasks"]
            # Which one it is that goes the hub says with the acknowledgement.
            gone = [[t for t in tasks if t != one] for tasks in told for one in ([result] if result else tasks)]
            self.allowed["fleet/tasks"] = gone
        elif verb == "prune":
            for key, values in self.allowed.items():
                if key.startswith("image/") and None not in values:
                    values.append(None)
        elif verb == "secret" or verb == "volume":
            put(f"{verb}/{arguments[0]}", "here")
        elif verb == "key" and result:
            put("key/access", result)
        elif verb == "end" and result:
            put(f"task/{result}", ["STOPPED", int(arguments[1])])
        elif verb == "start" and result:
            started[arguments[1]] = result
            put(f"task/{result}", ["RUNNING", None])
        elif verb == "stop":
            put(f"task/{started[arguments[0]]}", ["STOPPED", None])
        elif verb == "quit":
            put(f"task/{arguments[0]}", ["STOPPED", None])
