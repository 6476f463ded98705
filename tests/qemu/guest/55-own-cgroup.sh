# A container sees its own cgroup and cannot change it.
. /tests/lib.sh

agent_start
cat >/tmp/told/look.sh <<'EOS'
try() { echo "$1: $(eval "$2" 2>&1 | tr '\n' ' ')"; }
try own 'cat /proc/self/cgroup'
try limit 'cat /sys/fs/cgroup/memory.max'
try raise 'echo max >/sys/fs/cgroup/memory.max && echo raised'
try leave 'mkdir /sys/fs/cgroup/below && echo left'
try remount 'mount -o remount,rw /sys/fs/cgroup && echo remounted'
EOS
said=$(coracle run "$(told look)" sh /told/look.sh 2>&1)
of() { echo "$said" | sed -n "s/^$1: //p"; }
is "the container is at the root of what it sees" "0::/ " "$(of own)"
is "it sees its limit" "$((32 << 20)) " "$(of limit)"
has "it cannot raise its limit" "Read-only file system" "$(of raise)"
has "it cannot make a cgroup" "Read-only file system" "$(of leave)"
has "it cannot make its cgroup writable" "denied" "$(of remount)"
agent_stop
