# What the scripts share. Sourced.

# How long anything may take, in seconds: an emulated processor on a loaded machine is slow.
patience=${patience:-90}
# What a container gets that `told` defines, in MiB.
told_memory=32
cgroups=/sys/fs/cgroup/coracle
mkdir -p /tmp/told

pass() { echo "PASS $1"; }

# fail NAME WHY: WHY is put on one line.
fail() {
    echo "FAIL $1: $(echo "$2" | tr '\n' ' ' | cut -c 1-600)"
    [ ! -e /tmp/agent.log ] || tail -n 20 /tmp/agent.log
    touch /tmp/failed
}

# check NAME COMMAND...: passes when the command does; what it wrote says why it did not.
check() {
    check_name=$1
    shift
    if check_said=$("$@" 2>&1); then pass "$check_name"; else fail "$check_name" "$* ($?): $check_said"; fi
}

# is NAME WANTED FOUND
is() {
    if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "wanted '$2', found '$3'"; fi
}

# has NAME WANTED TEXT: WANTED is in TEXT.
has() {
    case $3 in *"$2"*) pass "$1" ;; *) fail "$1" "wanted '$2' in '$3'" ;; esac
}

# at_least NAME SMALLEST FOUND
at_least() {
    if [ "$3" -ge "$2" ]; then pass "$1"; else fail "$1" "wanted $2 or more, found '$3'"; fi
}

now() { cut -d . -f 1 /proc/uptime; }

# eventually COMMAND...: true as soon as the command is, false when it is not in time.
eventually() {
    eventually_until=$(($(now) + patience))
    until "$@" >/dev/null 2>&1; do
        [ "$(now)" -lt $eventually_until ] || return 1
        usleep 200000
    done
}

# Starts the agent, waits until it answers, and gives it the test image, which it keeps.
agent_start() {
    coracle agent >/tmp/agent.log 2>&1 &
    agent=$!
    # The next script starts its own, whatever becomes of this one.
    trap 'kill -9 "$agent" 2>/dev/null' EXIT
    eventually coracle ps || { fail "the agent answers" "$(coracle ps 2>&1)"; exit 1; }
    [ -e /tests/loaded ] || { coracle image load /busybox >/tmp/load 2>&1 && touch /tests/loaded; } \
        || { fail "the test image loads" "$(cat /tmp/load)"; exit 1; }
}

# Asks the agent to end; tasks stay.
agent_stop() {
    kill "$agent"
    wait "$agent"
}

# definition FAMILY [CONTAINER-MEMBERS [TASK-MEMBERS]]: the file of a task with one container, `main`.
definition() {
    cat >"/tmp/$1.json" <<JSON
{ "family": "$1", "networkMode": "host"${3:+, $3}, "containerDefinitions": [
  { "name": "main", "image": "coracle/busybox", "essential": true, "stopTimeout": 2${2:+, $2} } ] }
JSON
    echo "/tmp/$1.json"
}

# told FAMILY [CONTAINER-MEMBERS]: a definition with $told_memory MiB that sees /tmp/told as /told.
told() {
    definition "$1" \
        '"memory": '$told_memory', "mountPoints": [{ "sourceVolume": "told", "containerPath": "/told" }]'"${2:+, $2}" \
        '"volumes": [{ "name": "told", "host": { "sourcePath": "/tmp/told" } }]'
}

# start FILE COMMAND...: leaves the task to the agent and prints its id once its cgroup holds a process.
start() {
    start_id=$(coracle run --detach "$@") || return
    eventually grep -q . "$cgroups/$start_id/main/cgroup.procs" || return
    echo "$start_id"
}

# describe ID: the task as JSON, also when it has stopped.
describe() {
    coracle ps --all --output json \
        | awk -v id="$1" '/^    \{/ { task = "" } { task = task $0 "\n" } /^    \}/ && task ~ id { printf "%s", task }'
}

# member NAME: the member of that name in the JSON on standard input, the outermost if there are several.
member() {
    awk -v name="\"$1\":" '
        $1 == name { match($0, /^ */); if (depth == "" || RLENGTH < depth) { depth = RLENGTH; found = $0 } }
        END { sub(/^[^:]*: "?/, "", found); sub(/"?,?$/, "", found); print found }'
}

# status_is ID STATUS
status_is() { [ "$(describe "$1" | member lastStatus)" = "$2" ]; }

# gone ID: the task's cgroup is no more.
gone() { [ ! -e "$cgroups/$1" ]; }

# web_service: declares a service with a network of its own, a published port and a health check, and awaits all of it.
web_service() {
    cat >/tmp/web.yaml <<'YAML'
family: web
networkMode: bridge
containerDefinitions:
  - name: web
    image: coracle/busybox
    memory: 32
    stopTimeout: 1
    command: [sh, -c, "echo served >/tmp/index.html; exec httpd -f -p 80 -h /tmp"]
    portMappings: [{ containerPort: 80, hostPort: 8080 }]
    healthCheck: { command: [CMD-SHELL, "wget -qO- http://127.0.0.1/"], interval: 5, timeout: 20, retries: 3, startPeriod: 60 }
---
serviceName: web
taskDefinition: web
desiredCount: 1
YAML
    check "a service on the bridge is declared" coracle apply -f /tmp/web.yaml
    check "its published port answers" eventually served
    check "its health check passes" eventually healthy
}
served() { [ "$(wget -qO- http://127.0.0.1:8080/)" = served ]; }
healthy() { coracle ps --output json | grep -q '"healthStatus": "HEALTHY"'; }

# links: the network's interfaces but for the loopback.
links() { ls /sys/class/net | grep -vx lo; }
