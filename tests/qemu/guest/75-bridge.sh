# A service with a network of its own: its published port, its health check, and what its network outlives.
. /tests/lib.sh

agent_start
web_service
id=$(coracle ps --output json | member taskArn)
id=${id##*/}
pid=$(head -n 1 "$cgroups/$id/web/cgroup.procs")
is "the box has a bridge with the link of its container" 2 "$(links | wc -l)"

# Another container has the box as its way out, and finds the port there.
cat >/tmp/guest.json <<'JSON'
{ "family": "guest", "networkMode": "bridge", "containerDefinitions": [
  { "name": "main", "image": "coracle/busybox", "memory": 16, "stopTimeout": 2 } ] }
JSON
said=$(coracle run --output json /tmp/guest.json sh -c \
    'ip -4 -o address show eth0; ip route; wget -qO- "http://$(ip route | sed -n "s/^default via \([^ ]*\).*/\1/p"):8080/"' 2>&1)
is "another container on the bridge ends well" 0 $?
has "it reaches the published port of the box" served "$said"

kill -9 "$agent"
wait "$agent" 2>/dev/null
check "the port answers while there is no agent" served
agent_start
is "the container is found in the same process" "$pid" "$(head -n 1 "$cgroups/$id/web/cgroup.procs")"
check "its port answers as before" eventually served
check "and its health check passes" eventually healthy
check "the service can be deleted" coracle service rm web --force --wait
unlinked() { [ -z "$(links)" ]; }
check "the bridge and the links go with it" eventually unlinked
agent_stop
is "the agent ends well" 0 $?
