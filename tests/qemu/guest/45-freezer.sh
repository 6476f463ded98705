# A container that somebody froze can be stopped: on cgroup v2 SIGKILL reaches what is frozen.
. /tests/lib.sh

agent_start
id=$(start "$(told frozen)" sh -c 'while :; do echo x >>/told/alive; usleep 100000; done')
group=$cgroups/$id/main
# What is frozen is the container's program, not the shim that is still making the container.
check "the container's program runs" eventually test -s /tmp/told/alive
check "and so does the task" eventually status_is "$id" RUNNING
check "the container has a freezer" test -w "$group/cgroup.freeze"
echo 1 >"$group/cgroup.freeze"
frozen() { grep -qx "frozen 1" "$group/cgroup.events"; }
check "it freezes" eventually frozen
before=$(wc -c </tmp/told/alive)
has "the task is still told as running" RUNNING "$(describe "$id" | member lastStatus)"
check "coracle stop ends it" coracle stop "$id"
check "and its cgroup is removed" eventually gone "$id"
is "it did nothing while it was frozen" "$before" "$(wc -c </tmp/told/alive)"
is "it was killed" 137 "$(describe "$id" | member exitCode)"

id=$(start "$(told thawed)" sleep 1000)
is "a new container is not frozen" 0 "$(cat "$cgroups/$id/main/cgroup.freeze")"
check "it can be stopped" coracle stop "$id"
agent_stop
