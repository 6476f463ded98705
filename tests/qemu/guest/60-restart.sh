# The agent is killed and started again; its tasks do not notice.
. /tests/lib.sh

agent_start
# shellcheck disable=SC2016
long=$(start "$(told long)" sh -c 'i=0; while :; do i=$((i + 1)); echo "line $i"; usleep 100000; done')
short=$(start "$(told short)" sh -c 'until [ -e /told/end ]; do usleep 100000; done; exit 9')
check "a task runs" eventually status_is "$long" RUNNING
check "another runs beside it" eventually status_is "$short" RUNNING
pid=$(head -n 1 "$cgroups/$long/main/cgroup.procs")

kill -9 "$agent"
wait "$agent" 2>/dev/null
touch /tmp/told/end
ended() { ! grep -q . "$cgroups/$short/main/cgroup.procs"; }
check "a container ends while there is no agent" eventually ended
agent_start
check "its exit is found" eventually status_is "$short" STOPPED
is "with its code" 9 "$(describe "$short" | member exitCode)"
is "the other task is found running" RUNNING "$(describe "$long" | member lastStatus)"
is "in the same process" "$pid" "$(head -n 1 "$cgroups/$long/main/cgroup.procs")"
lines=$(coracle logs "$long" | wc -l)
more() { [ "$(coracle logs "$long" | wc -l)" -gt "$lines" ]; }
check "its output goes on" eventually more
is "and is complete" "" "$(coracle logs "$long" | awk '$2 != NR' | head -n 1)"
check "it can be stopped" coracle stop "$long"
check "its cgroup is removed" eventually gone "$long"
check "no process of it is left" test ! -e "/proc/$pid"
agent_stop
