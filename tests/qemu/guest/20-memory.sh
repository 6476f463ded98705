# Memory limits are in force, of a container and of a task.
. /tests/lib.sh

agent_start
# dd fills a buffer of bs bytes.
cat >/tmp/told/fill.sh <<'EOS'
dd if=/dev/zero of=/dev/null bs=8M count=1 2>/dev/null && echo "8 MiB fit"
dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null || echo "64 MiB do not: $?"
echo "going on"
until [ -e /told/fill ]; do usleep 100000; done
exec dd if=/dev/zero of=/dev/null bs=64M count=1
EOS
id=$(start "$(told memory '"memoryReservation": 16')" sh /told/fill.sh)
is "memory.max is the container's memory" $((32 << 20)) "$(cat "$cgroups/$id/main/memory.max")"
is "memory.low is its memoryReservation" $((16 << 20)) "$(cat "$cgroups/$id/main/memory.low")"
# What is reserved is no bound: a container that uses more is not slowed down.
is "memory.high is not set" max "$(cat "$cgroups/$id/main/memory.high")"
# What the kernel protects is bounded by each cgroup above.
above() { sed 's/^max$/9223372036854775807/' "$1/memory.low"; }
at_least "the task's cgroup lets memory.low through" $((16 << 20)) "$(above "$cgroups/$id")"
at_least "so does the cgroup of all tasks" $((16 << 20)) "$(above "$cgroups")"
logs() { coracle logs "$id" 2>&1; }
going_on() { logs | grep -q "going on"; }
check "a container outlives a child that is killed for memory" eventually going_on
has "the child within the limit ran" "8 MiB fit" "$(logs)"
has "the child beyond it was killed" "64 MiB do not: 137" "$(logs)"
touch /tmp/told/fill
check "a container that is killed itself ends the task" eventually status_is "$id" STOPPED
is "it exits with 137" 137 "$(describe "$id" | member exitCode)"
has "it is reported as OutOfMemoryError" OutOfMemoryError "$(describe "$id" | member reason)"

# Swap is limited apart from memory; without maxSwap it is as much as there is memory.
for want in none:$((32 << 20)) 0:0 5:$((5 << 20)); do
    swap=${want%:*}
    case $swap in none) parameters='' ;; *) parameters='"linuxParameters": { "maxSwap": '$swap', "swappiness": 10 }' ;; esac
    id=$(start "$(told swap "$parameters")" sleep 1000)
    is "memory.swap.max with maxSwap $swap" "${want#*:}" "$(cat "$cgroups/$id/main/memory.swap.max")"
    coracle stop "$id" >/dev/null
done
has "that swappiness has no effect is told" "swappiness has no effect" "$(cat /tmp/agent.log)"

file=$(definition task-memory '' '"memory": "32"')
said=$(coracle run --output json "$file" dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null)
is "a task beyond its memory exits with 137" 137 $?
has "that is reported as OutOfMemoryError, too" OutOfMemoryError "$(echo "$said" | member reason)"
agent_stop
