# The tests in the guest, over three boots: as PID 1's service, see guest.service.
. /tests/lib.sh

export HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive
# Everything takes its time in an emulator.
patience=90
usleep() { sleep 0.2; }
fail() {
    echo "FAIL $1: $(echo "$2" | tr '\n' ' ' | cut -c 1-600)"
    journalctl -b -n 25 --no-pager -o cat -u coracle 2>/dev/null
    timeout 10 coracle why web 2>/dev/null
}

took() { echo "TOOK $(now) s: $1"; }
unit() { systemctl show -P "$1" coracle.service; }
running() { systemctl is-active --quiet coracle.service && coracle ps >/dev/null; }
# An agent other than $agent is there.
another() { [ "$(unit MainPID)" != "$agent" ] && running; }
# The service's answer over the published port.
answer() {
    exec 3<>/dev/tcp/127.0.0.1/8080 || return
    printf 'GET / HTTP/1.0\r\n\r\n' >&3
    tail -n 1 <&3
    exec 3>&-
}
answers() { answer 2>/dev/null | grep -q 'hello from the box'; }
healthy() { coracle ps --output json | grep -q '"healthStatus": "HEALTHY"'; }
# The process of the service's container, as the box counts.
server() { cat /sys/fs/cgroup/coracle/*/web/cgroup.procs 2>/dev/null | head -n 1; }
as_user() { setpriv --reuid "$1" --regid "$2" --init-groups coracle ps; }

# Whatever an agent makes in the kernel, one line each.
traces() {
    # By their command lines: a shim has the name of a descriptor.
    pgrep -af coracle
    find /sys/fs/cgroup -maxdepth 2 -name 'coracle*' -type d ! -name 'coracle-guest*'
    ip -o link | grep -v ' lo:'
    nft list tables 2>/dev/null
    grep -E '/coracle|overlay' /proc/self/mountinfo
    # More namespaces than those of process 1 and of systemd's own services.
    lsns -t net -n -o NS,COMMAND | grep -v -e systemd -e init
    find /run -maxdepth 2 -name 'coracle*'
}
# Files with our name; the package's archives and this test are elsewhere.
files() {
    find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tests -o -path /var/log/journal -o -path /tmp \) -prune \
        -o -name '*coracle*' -print
    getent group coracle
}

serve() {
    coracle image load /tests/busybox >/tmp/load 2>&1 || fail "the image loads" "$(cat /tmp/load)"
    check "$1" timeout $patience coracle apply -f /tests/service.yaml --wait
}

first_boot() {
    took "the first boot"
    is "cgroup v2 alone is mounted" cgroup2 "$(awk '$3 ~ /^cgroup/ { print $3 }' /proc/mounts)"
    check "the package installs" dpkg -i /tests/1.0.0/coracle_1.0.0_amd64.deb
    took "installed"
    check "the agent is started by the installation" eventually running
    is "and by every boot from now on" enabled "$(systemctl is-enabled coracle)"
    is "the hub is not" disabled "$(systemctl is-enabled coracle-hub)"
    is "it waits for no network" "" "$(systemctl list-dependencies --plain --all coracle.service | grep network-online)"
    check "systemd finds no fault with the units" systemd-analyze verify --man=no /usr/lib/systemd/system/coracle.service /usr/lib/systemd/system/coracle-hub.service

    is "the socket is root's and the group's" "root coracle 660" "$(stat -c '%U %G %a' /run/coracle/api.sock)"
    useradd --groups coracle ada
    check "a member of the group may use it" as_user ada ada
    has "others may not" "may not be used by this user" "$(as_user nobody nogroup 2>&1)"

    # With the agent of the box, as the README has it.
    said=$(coracle run /usr/share/doc/coracle/examples/hello.json 2>&1)
    is "the main job of the README runs" 0 $?
    has "and says hello" ello "$said"
    took "hello"

    serve "a service with a network, a port and a health check is steady"
    check "its published port answers" eventually answers
    check "its health check passes" eventually healthy
    took "the service"
    process=$(server)
    is "containers go before the agent when memory is short" "0 -900" \
        "$(cat "/proc/$process/oom_score_adj" "/proc/$(unit MainPID)/oom_score_adj" | xargs)"
    is "nothing of the container is in the agent's own cgroup" "" "$(grep -x "$process" /sys/fs/cgroup/system.slice/coracle.service/cgroup.procs)"

    agent=$(unit MainPID)
    kill -9 "$agent"
    check "systemd starts the agent again after kill -9" eventually another
    is "the container ran on" "$process" "$(server)"
    check "its port answers as before" eventually answers
    check "the service is known" coracle service show web
    took "killed"

    echo 'image_minimum_age = "2h"' >/tmp/setting
    sed -i 's/^image_minimum_age = .*/image_minimum_age = "2h"/' /etc/coracle/agent.toml
    agent=$(unit MainPID)
    check "an upgrade installs" dpkg -i /tests/1.0.1/coracle_1.0.1_amd64.deb
    check "it restarts the agent" eventually another
    is "the new program runs" "$(stat -Lc %s /usr/bin/coracle)" "$(stat -Lc %s "/proc/$(unit MainPID)/exe")"
    is "the container ran on over the upgrade" "$process" "$(server)"
    check "the settings are kept" grep -qxFf /tmp/setting /etc/coracle/agent.toml
    check "the service still answers" eventually answers
    took "upgraded"

    # One that ends by SIGTERM, one that does not heed it, one that has ended.
    definition stops '"memory": 16, "stopTimeout": 20' >/dev/null
    definition deaf '"memory": 16, "stopTimeout": 2' >/dev/null
    coracle run --detach /tmp/stops.json sh -c 'trap "exit 0" TERM; while :; do sleep 0.2; done' >/tests/stops
    coracle run --detach /tmp/deaf.json sleep 1000 >/tests/deaf
    coracle run --output json /tmp/deaf.json sh -c 'exit 5' >/tmp/ended
    is "three tasks were run" 5 $?
    both_run() { status_is "$(cat /tests/stops)" RUNNING && status_is "$(cat /tests/deaf)" RUNNING; }
    check "two of them go on" eventually both_run
}

after_reboot() {
    took "the boot after"
    check "after a reboot the agent is there by itself" eventually running
    check "and the service answers, without a network" eventually answers
    check "and is healthy" eventually healthy
    both_run() { status_is "$(cat /tests/stops)" RUNNING && status_is "$(cat /tests/deaf)" RUNNING; }
    check "tasks of no service go on as well, however they took the shutdown" eventually both_run
    is "what had ended before stays ended" 1 "$(coracle ps --all --output json | grep -c '"exitCode": 5')"
    coracle stop "$(cat /tests/stops)" "$(cat /tests/deaf)" >/dev/null
    took "back"

    check "the package can be removed" dpkg -r coracle
    is "nothing runs then and nothing is left in the kernel" "" "$(traces)"
    is "IPv4 is forwarded no more" 0 "$(cat /proc/sys/net/ipv4/ip_forward)"
    check "the state is kept" test -d /var/lib/coracle/store
    took "removed"
    check "it can be installed again" dpkg -i /tests/1.0.1/coracle_1.0.1_amd64.deb
    check "then the service comes back" eventually answers
    took "again"
    check "the package can be purged while the service runs" dpkg -P coracle
    is "nothing is left in the kernel" "" "$(traces)"
    is "nothing is left on disk, and no group" "" "$(files)"
    took "purged"

    # The same without a package manager.
    cp -r /tests/1.0.1 /tmp/damaged
    printf x | dd of=/tmp/damaged/coracle_1.0.1_amd64.tar.gz bs=1 seek=1000 conv=notrunc 2>/dev/null
    has "install.sh refuses what is damaged" "is damaged" "$(sh /tests/1.0.1/install.sh --from /tmp/damaged 2>&1)"
    is "and has installed nothing then" "" "$(files)"
    # The shell remembers where the program was.
    hash -r
    check "install.sh installs" sh /tests/1.0.0/install.sh --from /tests/1.0.0
    check "the agent runs from there" eventually running
    serve "a service runs there"
    check "and answers" eventually answers
    took "install.sh"
    process=$(server)
    agent=$(unit MainPID)
    check "install.sh upgrades" sh /tests/1.0.1/install.sh --from /tests/1.0.1
    check "that restarts the agent" eventually another
    is "the container ran on over that" "$process" "$(server)"
    check "install.sh uninstalls and purges" sh /usr/local/share/coracle/install.sh --uninstall --purge
    is "nothing of it is left in the kernel" "" "$(traces)"
    is "nor on disk, and no group" "" "$(files)"
    check "uninstalling again is fine" sh /tests/1.0.1/install.sh --uninstall --purge
    has "without systemd it says what to start" "/usr/local/bin/coracle agent" \
        "$(unshare -m sh -c 'mount -t tmpfs none /run/systemd && sh /tests/1.0.1/install.sh --from /tests/1.0.1' 2>&1)"
    check "and installs no unit" test ! -e /etc/systemd/system/coracle.service
    check "that is uninstalled as well" sh /tests/1.0.1/install.sh --uninstall --purge
    is "without a trace" "" "$(files)"
    took "uninstalled"
}

if [ ! -e /tests/booted ]; then
    first_boot
    touch /tests/booted
    sync
    systemctl reboot 2>/dev/null
else
    after_reboot
    echo "DONE debian"
    sync
    systemctl poweroff --force --force
fi
