# The number of processes of a container is limited.
. /tests/lib.sh

agent_start
# Signals the container may be told to go on by: a file in a volume.
mkdir -p /tmp/told
file=$(definition pids \
    '"memory": 32, "mountPoints": [{ "sourceVolume": "told", "containerPath": "/told" }]' \
    '"volumes": [{ "name": "told", "host": { "sourcePath": "/tmp/told" } }]')
id=$(start "$file" sh -c 'until [ -e /told/go ]; do usleep 100000; done; sleep 1 & sleep 1 & sleep 1 & wait')
limit=$(cat "$cgroups/$id/main/pids.max")
check "pids.max is a number" test "$limit" -gt 0
# The default is more than this guest has memory for, so it is lowered: the limit is one of the right cgroup.
echo 2 >"$cgroups/$id/main/pids.max"
touch /tmp/told/go
check "the task ends" eventually status_is "$id" STOPPED
has "fork is refused beyond pids.max" "can't fork" "$(coracle logs "$id" 2>&1)"
agent_stop
