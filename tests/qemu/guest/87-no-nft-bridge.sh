# A kernel whose nftables do not look at what passes a bridge: networks work, and the agent says once what is lost.
# kernel: without=nft_meta_bridge
. /tests/lib.sh

check "there is nftables" [ -e /sys/module/nf_tables ]
check "but not for bridges" [ ! -e /sys/module/nft_meta_bridge ]
agent_start
web_service
is "one task was enough" 1 "$(coracle ps --all --output json | grep -c '^      "taskArn"')"
has "what is lost is told" "modprobe nft_meta_bridge" "$(cat /tmp/agent.log)"
has "the doctor tells it as well" "the kernel has no nft_meta_bridge" "$(coracle doctor 2>&1)"
check "the service can be deleted" coracle service rm web --force --wait
agent_stop
is "the agent ends well" 0 $?
