# CPU limits and shares are in force.
. /tests/lib.sh

# usage ID: CPU time of the task, in microseconds.
usage() { sed -n 's/^usage_usec //p' "$cgroups/$1/cpu.stat"; }
used() { [ "$(usage "$1")" -ge "$2" ]; }
throttled() { sed -n 's/^nr_throttled //p' "$cgroups/$1/cpu.stat"; }

agent_start
id=$(start "$(definition quarter '' '"cpu": "256", "memory": "32"')" sh -c 'while :; do :; done')
is "cpu.max is the task's cpu" "25000 100000" "$(cat "$cgroups/$id/cpu.max")"
check "a busy task uses CPU time" eventually used "$id" 200000
at_least "a task is held to its cpu" 2 "$(throttled "$id")"
coracle stop "$id" >/dev/null

# Two busy tasks on one CPU: four times the shares, about four times the time.
low=$(start "$(definition low '"cpu": 128, "memory": 16')" sh -c 'while :; do :; done')
high=$(start "$(definition high '"cpu": 512, "memory": 16')" sh -c 'while :; do :; done')
low_weight=$(cat "$cgroups/$low/cpu.weight")
at_least "cpu.weight grows with cpu" $((3 * low_weight)) "$(cat "$cgroups/$high/cpu.weight")"
low_before=$(usage "$low")
high_before=$(usage "$high")
check "busy tasks share the CPU" eventually used "$low" $((low_before + 200000))
at_least "a task with more cpu gets more time" $((2 * ($(usage "$low") - low_before))) \
    $(($(usage "$high") - high_before))
coracle stop "$low" "$high" >/dev/null
agent_stop
