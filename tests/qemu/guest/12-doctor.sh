# The doctor finds nothing wrong with a box on which an agent runs, and says what is when the agent is gone.
. /tests/lib.sh

agent_start
start "$(definition doctor '"memory": 32')" sleep 600 >/tmp/id || fail "a task starts" "$(cat /tmp/id)"
said=$(coracle doctor 2>&1)
code=$?
if [ $code = 0 ]; then pass "the doctor finds no error"; else fail "the doctor finds no error" "$said"; fi
for name in kernel cgroups memory-cgroup overlayfs memory disk state-dir run-dir configuration store agent shims leftovers ports images; do
    found=$(echo "$said" | awk -v name=$name '$2 == name')
    if [ "${found%% *}" = ok ]; then pass "check $name"; else fail "check $name" "$found"; fi
done
# The kernel of this guest has these as modules, which the guest has not.
[ -e /sys/module/nf_tables ] || has "what is lost without nftables is named" "tasks in the network modes bridge and awsvpc do not start" "$said"
has "the doctor sees the task" "1 task runs" "$said"

kill -STOP "$agent"
said=$(coracle doctor --output json 2>&1)
has "an agent that is stuck is told" "does not answer in time" "$said"
has "the doctor's JSON has a summary" '"summary"' "$said"
kill -CONT "$agent"
kill -9 "$agent"
wait "$agent" 2>/dev/null
mkdir -p /sys/fs/cgroup/coracle/unknown-task
right=$(date +%s)
date -s '1970-01-02 03:04:05' >/dev/null
said=$(coracle doctor 2>&1)
has "without an agent the check agent is an error" "no agent answers" "$said"
has "without an agent the check shims is a warning" "1 task runs without an agent" "$said"
has "a control group that nobody knows is told" "unknown-task" "$said"
rmdir /sys/fs/cgroup/coracle/unknown-task
has "a clock in 1970 is an error" "the clock shows 1970-01-02" "$said"
has "a clock in 1970 has a remedy" "timedatectl" "$said"
date -s "@$right" >/dev/null
agent_start
coracle stop "$(cat /tmp/id)" >/dev/null
check "the task is gone" eventually gone "$(cat /tmp/id)"
agent_stop
