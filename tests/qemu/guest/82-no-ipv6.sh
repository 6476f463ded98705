# A kernel without IPv6: containers with networks of their own, published ports, and all else.
# kernel: ipv6.disable=1
. /tests/lib.sh

is "there is no IPv6" "" "$(ls /proc/sys/net/ipv6 2>/dev/null)"
agent_start
web_service
check "it can be deleted" coracle service rm web --force --wait
agent_stop
is "the agent ends well" 0 $?
