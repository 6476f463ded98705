# The parent of a task's containers is killed: nothing of the task lives on, and the task says why.
. /tests/lib.sh

agent_start
id=$(start "$(told shimless)" sh -c 'sleep 1000 & sleep 1001')
check "the task runs" eventually status_is "$id" RUNNING
pids=$(cat "$cgroups/$id/main/cgroup.procs")
shim=$(sed -n 's/^PPid:.//p' "/proc/${pids%%
*}/status")
has "the parent of its process is a shim" shim "$(tr '\0' ' ' <"/proc/$shim/cmdline")"
kill -9 "$shim"
check "the task ends" eventually status_is "$id" STOPPED
has "its reason names the shim" shim "$(describe "$id" | member stoppedReason)"
check "its cgroup is removed" eventually gone "$id"
for pid in $pids; do
    check "process $pid of it is gone" test ! -e "/proc/$pid"
done
agent_stop
