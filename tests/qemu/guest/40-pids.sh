# The number of processes of a container is limited.
. /tests/lib.sh

agent_start
id=$(start "$(told pids)" sh -c 'until [ -e /told/fork ]; do usleep 100000; done; sleep 1 & sleep 1 & sleep 1 & wait')
at_least "pids.max is a number" 1 "$(cat "$cgroups/$id/main/pids.max")"
# The default is more than this guest has memory for, so it is lowered: the limit is one of the right cgroup.
echo 2 >"$cgroups/$id/main/pids.max"
touch /tmp/told/fork
check "the task ends" eventually status_is "$id" STOPPED
has "fork is refused beyond pids.max" "can't fork" "$(coracle logs "$id" 2>&1)"
agent_stop
