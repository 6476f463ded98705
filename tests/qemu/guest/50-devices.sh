# Device rules are in force: cgroup v2 has them only as a program of the kernel's.
. /tests/lib.sh

export CORACLE_ALLOW_PRIVILEGED=true
agent_start
disk=$(stat -c '%t %T' /dev/vda)
major=$((0x${disk% *}))
minor=$((0x${disk#* }))

# One container tries it all and says on a line each what came of it.
cat >/tmp/told/try.sh <<'EOS'
try() { echo "$1: $(eval "$2" 2>&1 | tr '\n' ' ')"; }
try capability 'echo $(((0x$(sed -n "s/^CapEff:.//p" /proc/self/status) >> 27) & 1))'
try made "mknod /tmp/disk b $1 $2 && mknod /tmp/kmsg c 1 11 && echo yes"
try read-disk 'head -c 1 /tmp/disk'
try write-disk ': >/tmp/disk'
try read-kmsg 'head -c 1 /tmp/kmsg'
try null 'echo x >/dev/null && cat /dev/null && echo fine'
try zero 'head -c 1000 /dev/zero | wc -c'
try urandom 'head -c 1000 /dev/urandom | wc -c'
try tty 'mknod /tmp/ttyS0 c 4 64 && : >/tmp/ttyS0'
EOS
said=$(coracle run "$(told devices)" sh /told/try.sh "$major" "$minor" 2>&1)
of() { echo "$said" | sed -n "s/^$1: //p"; }
is "the container has CAP_MKNOD" "1 " "$(of capability)"
is "the container makes a node of the root disk" "yes " "$(of made)"
has "the root disk is refused to read with EPERM" "Operation not permitted" "$(of read-disk)"
has "the root disk is refused to write with EPERM" "Operation not permitted" "$(of write-disk)"
has "the kernel's log is refused with EPERM" "Operation not permitted" "$(of read-kmsg)"
has "the host's console is refused with EPERM" "Operation not permitted" "$(of tty)"
is "/dev/null works" "fine " "$(of null)"
is "/dev/zero works" "1000 " "$(of zero)"
is "/dev/urandom works" "1000 " "$(of urandom)"

# What is granted is granted, so the refusals above are the rules' doing.
cat >/tmp/told/granted.sh <<'EOS'
echo "read: $(head -c 512 /dev/disk | wc -c)"
echo "write: $( (: >/dev/disk) 2>&1)"
EOS
said=$(coracle run "$(told granted '"linuxParameters":
    { "devices": [{ "hostPath": "/dev/vda", "containerPath": "/dev/disk", "permissions": ["read"] }] }')" \
    sh /told/granted.sh 2>&1)
is "a device of the definition is read" 512 "$(of read)"
has "but not written without the permission" "Operation not permitted" "$(of write)"

said=$(coracle run "$(told privileged '"privileged": true')" sh -c \
    'echo "read: $(head -c 512 /dev/vda | wc -c)"; mknod /tmp/disk b "$0" "$1"; echo "made: $(head -c 512 /tmp/disk | wc -c)"
     mkdir /sys/fs/cgroup/inner && echo "group: writable"' "$major" "$minor" 2>&1)
is "a privileged container reads any device" 512 "$(of read)"
is "also by a node that it makes" 512 "$(of made)"
is "and writes its own control groups" writable "$(of group)"
agent_stop
