# The machine is reset while tasks run. What is on its disk is what the agent made durable.
. /tests/lib.sh

file=$(definition reset '"memory": 16')
if [ ! -e /tests/reset ]; then
    { echo 70-reset; cat /tests/queue; } >/tests/queue.new
    mv /tests/queue.new /tests/queue
    touch /tests/reset
    agent_start
    sync
    ended=$(coracle run --output json "$file" sh -c 'exit 5' | member taskArn)
    long=$(start "$file" sleep 1000)
    check "a task runs before the reset" eventually status_is "$long" RUNNING
    # Told to the console, not to the disk, which must not be synchronised here.
    echo "resetting while $long runs and $ended has ended"
    reboot -n -f
fi

is "nothing is left in /run" "" "$(ls /run)"
agent_start
running() { coracle ps --output json | grep -q '"lastStatus": "RUNNING"'; }
check "after a reset the task runs again" eventually running
id=$(coracle ps --output json | member taskArn)
id=${id##*/}
# It is told as running from before the reset until the agent has looked.
runs_sleep() { [ "$(cat "/proc/$(head -n 1 "$cgroups/$id/main/cgroup.procs")/comm")" = sleep ]; }
check "in a process of this boot" eventually runs_sleep
is "the task that had ended is not run again" 1 "$(coracle ps --output json | grep -c '^      "taskArn"')"
has "its exit code is kept" '"exitCode": 5' "$(coracle ps --all --output json)"
check "the task can be stopped" coracle stop "$id"
check "and its cgroup is removed" eventually gone "$id"
agent_stop
