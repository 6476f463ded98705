# Memory limits are in force, of a container and of a task.
. /tests/lib.sh

agent_start
file=$(definition memory '"memory": 32, "memoryReservation": 16')
id=$(start "$file" sleep 1000)
is "memory.max is the container's memory" $((32 << 20)) "$(cat "$cgroups/$id/main/memory.max")"
is "memory.low is its memoryReservation" $((16 << 20)) "$(cat "$cgroups/$id/main/memory.low")"
coracle stop "$id" >/dev/null

# dd fills a buffer of bs bytes.
coracle run "$file" dd if=/dev/zero of=/dev/null bs=8M count=1 2>/dev/null
is "a container within its memory runs" 0 $?
said=$(coracle run --output json "$file" dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null)
is "a container beyond its memory exits with 137" 137 $?
has "it is reported as OutOfMemoryError" OutOfMemoryError "$(echo "$said" | member reason)"

# A child of the container's process is killed, the container goes on.
said=$(coracle run --output json "$file" sh -c 'dd if=/dev/zero of=/dev/null bs=64M count=1; exit 3' 2>/dev/null)
is "a container outlives a child that is killed for memory" 3 $?

file=$(definition task-memory '' '"memory": "32"')
id=$(start "$file" sleep 1000)
is "memory.max is the task's memory" $((32 << 20)) "$(cat "$cgroups/$id/memory.max")"
coracle stop "$id" >/dev/null
said=$(coracle run --output json "$file" dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null)
is "a task beyond its memory exits with 137" 137 $?
has "that is reported as OutOfMemoryError, too" OutOfMemoryError "$(echo "$said" | member reason)"
agent_stop
