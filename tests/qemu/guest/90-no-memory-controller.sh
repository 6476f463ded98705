# Without the memory controller, as on a Raspberry Pi OS that was not told to have it, one line names the remedy.
# kernel: cgroup_disable=memory
. /tests/lib.sh

case $(cat /sys/fs/cgroup/cgroup.controllers) in
    *memory*) fail "the kernel has no memory controller" "$(cat /sys/fs/cgroup/cgroup.controllers)" ;;
    *) pass "the kernel has no memory controller" ;;
esac
for command in "agent" "run coracle/hello"; do
    # shellcheck disable=SC2086
    said=$(timeout 60 coracle $command 2>&1)
    code=$?
    check "coracle $command refuses" eval "[ $code -gt 0 ] && [ $code -lt 128 ]"
    has "coracle $command names the remedy" cgroup_enable=memory "$said"
    is "coracle $command says it in one line" 1 "$(echo "$said" | wc -l)"
done
