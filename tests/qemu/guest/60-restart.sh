# The agent is killed and started again; its tasks do not notice.
. /tests/lib.sh

agent_start
file=$(definition long '"memory": 32')
long=$(start "$file" sh -c 'i=0; while :; do i=$((i + 1)); echo "line $i"; usleep 100000; done')
check "a task runs" eventually status_is "$long" RUNNING
pid=$(head -n 1 "$cgroups/$long/main/cgroup.procs")
mkdir -p /tmp/told
short=$(start "$(definition short \
    '"memory": 16, "mountPoints": [{ "sourceVolume": "told", "containerPath": "/told" }]' \
    '"volumes": [{ "name": "told", "host": { "sourcePath": "/tmp/told" } }]')" \
    sh -c 'rm -f /told/end; until [ -e /told/end ]; do usleep 100000; done; exit 9')

kill -9 "$agent"
wait "$agent" 2>/dev/null
touch /tmp/told/end
check "a container ends without the agent" eventually eval \
    "! grep -q . '$cgroups/$short/main/cgroup.procs' 2>/dev/null"
agent_start
check "the exit is found" eventually status_is "$short" STOPPED
is "with its code" 9 "$(describe "$short" | member exitCode)"
is "the other task is found running" RUNNING "$(describe "$long" | member lastStatus)"
is "it is the same process" "$pid" "$(head -n 1 "$cgroups/$long/main/cgroup.procs")"
lines=$(coracle logs "$long" | wc -l)
more() { [ "$(coracle logs "$long" | wc -l)" -gt "$lines" ]; }
check "its output goes on" eventually more
is "and is complete" "" "$(coracle logs "$long" | awk '$2 != NR' | head -n 1)"
check "it can be stopped" coracle stop "$long"
check "its cgroup is removed" eventually gone "$long"
check "no process of it is left" test ! -e "/proc/$pid"
agent_stop
