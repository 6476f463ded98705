# A kernel that has nftables but not all of it, and nobody loads the rest: a task is told what to load, by the name of the modules.
# kernel: without=nft_masq
. /tests/lib.sh

check "there is nftables" [ -e /sys/module/nf_tables ]
check "but not for masquerading" [ ! -e /sys/module/nft_masq ]
agent_start
cat >/tmp/bridged.json <<'JSON'
{ "family": "bridged", "networkMode": "bridge", "containerDefinitions": [
  { "name": "main", "image": "coracle/busybox", "memory": 32, "command": ["true"] } ] }
JSON
said=$(coracle run --output json /tmp/bridged.json 2>&1)
check "a task that is to have its own network does not run" [ $? -ne 0 ]
has "and is told what is missing" "modprobe -a nft_chain_nat nft_nat nft_masq nft_ct" "$said"
has "and what to do without" "networkMode to host or none" "$said"
is "and leaves no bridge" "" "$(links)"
agent_stop
is "the agent ends well" 0 $?
