# A task runs and ends, with an agent and with an engine of its own.
. /tests/lib.sh

said=$(coracle run coracle/hello 2>&1)
is "hello runs without an agent" 0 $?
has "hello greets" ello "$said"
is "nothing of hello is left in the cgroups" "" "$(find /sys/fs/cgroup -name 'coracle-run-*')"

agent_start
said=$(coracle run --output json "$(told plain)" sh -c 'echo here; exit 7')
is "the exit code is the container's" 7 $?
has "the output is shown" here "$said"
is "the exit code is reported" 7 "$(echo "$said" | member exitCode)"
is "the task is stopped" STOPPED "$(echo "$said" | member lastStatus)"
is "the end of an essential container is the reason" EssentialContainerExited "$(echo "$said" | member stopCode)"

# An init system on a box with systemd gives the controllers to its slices; here nobody has but the agent.
has "the agent hands the memory controller down" memory "$(cat /sys/fs/cgroup/cgroup.subtree_control)"
left() { find "$cgroups" -mindepth 1 -type d; }
none_left() { [ -z "$(left)" ]; }
check "the cgroup of a task goes with it" eventually none_left
agent_stop
is "the agent ends well on SIGTERM" 0 $?
