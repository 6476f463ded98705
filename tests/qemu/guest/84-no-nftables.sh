# A kernel without nftables: containers have the box's network or none, and are told so.
# kernel: without=nf
. /tests/lib.sh

check "there is no nftables" [ ! -e /sys/module/nf_tables ]
agent_start
is "a task in the box's network runs" 0 "$(coracle run --output json "$(told plain)" true >/tmp/said 2>&1; echo $?)"
cat >/tmp/bridged.json <<'JSON'
{ "family": "bridged", "networkMode": "bridge", "containerDefinitions": [
  { "name": "main", "image": "coracle/busybox", "memory": 32, "command": ["true"] } ] }
JSON
said=$(coracle run --output json /tmp/bridged.json 2>&1)
check "a task that is to have its own does not" [ $? -ne 0 ]
has "and is told what is missing" "modprobe nf_tables" "$said"
has "and what to do without" "networkMode to host or none" "$said"
is "and leaves no bridge" "" "$(links)"
agent_stop
is "the agent ends well" 0 $?
