# A root file system that nobody can write, and no swap: the state is on a file system of its own.
# kernel: ipv6.disable=1
. /tests/lib.sh

is "there is no swap" 1 "$(wc -l </proc/swaps)"
mount -o remount,ro /
trap 'mount -o remount,rw /' EXIT
said=$(timeout 60 coracle agent 2>&1)
code=$?
check "where the state cannot be written the agent refuses" [ "$code" = 1 ]
has "and names the directory" /var/lib/coracle "$said"
is "in one line" 1 "$(echo "$said" | grep -c '^error: ')"

mount -t tmpfs state /var/lib
coracle agent >/tmp/agent.log 2>&1 &
agent=$!
trap 'kill -9 "$agent" 2>/dev/null; umount -l /var/lib; mount -o remount,rw /' EXIT
check "with a state of its own it answers" eventually coracle ps
check "an image is loaded" coracle image load /busybox
said=$(coracle run --output json "$(told plain)" sh -c 'echo here; exit 7')
is "a task runs" 7 $?
has "and its output is kept" here "$said"
agent_stop
is "the agent ends well" 0 $?
