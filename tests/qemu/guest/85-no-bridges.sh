# A kernel without bridges: a task that is to have a network of its own is told what to load.
# kernel: without=bridge
. /tests/lib.sh

check "there are no bridges" [ ! -e /sys/module/bridge ]
agent_start
cat >/tmp/bridged.json <<'JSON'
{ "family": "bridged", "networkMode": "bridge", "containerDefinitions": [
  { "name": "main", "image": "coracle/busybox", "memory": 32, "command": ["true"] } ] }
JSON
said=$(coracle run --output json /tmp/bridged.json 2>&1)
check "a task that is to have its own network does not run" [ $? -ne 0 ]
has "and is told what is missing" "modprobe bridge" "$said"
has "and what to do without" "networkMode to host or none" "$said"
is "and leaves no link" "" "$(links)"
agent_stop
is "the agent ends well" 0 $?
