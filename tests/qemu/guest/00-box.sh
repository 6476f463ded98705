# The guest is what these tests need: cgroup v2 alone, with the controllers of tasks.
. /tests/lib.sh

check "cgroup v2 alone is mounted" eval '[ "$(grep -c cgroup /proc/mounts)" = 1 ] && grep -q cgroup2 /proc/mounts'
for controller in cpu memory pids; do
    check "the kernel has the $controller controller" grep -qw $controller /sys/fs/cgroup/cgroup.controllers
done
check "coracle runs" coracle version
