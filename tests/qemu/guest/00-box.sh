# The guest is what these tests need: cgroup v2 alone, with the controllers of tasks.
. /tests/lib.sh

is "cgroup v2 alone is mounted" cgroup2 "$(awk '$3 ~ /^cgroup/ { print $3 }' /proc/mounts)"
for controller in cpu memory pids; do
    has "the kernel has the $controller controller" $controller "$(cat /sys/fs/cgroup/cgroup.controllers)"
done
check "coracle runs" coracle version
