# Device rules are in force: cgroup v2 has them only as a program of the kernel's.
. /tests/lib.sh

agent_start
disk=$(stat -c '%t %T' /dev/vda)
major=$((0x${disk% *}))
minor=$((0x${disk#* }))
plain=$(definition devices '"memory": 32')

is "the container has CAP_MKNOD" 1 "$(coracle run "$plain" sh -c \
    'echo $(( (0x$(sed -n "s/^CapEff:\t//p" /proc/self/status) >> 27) & 1 ))')"
said=$(coracle run "$plain" sh -c "mknod /tmp/disk b $major $minor && echo made; head -c 1 /tmp/disk" 2>&1)
has "the container makes a node of the root disk" made "$said"
has "the root disk is refused to read with EPERM" "Operation not permitted" "$said"
said=$(coracle run "$plain" sh -c "mknod /tmp/disk b $major $minor && : >/tmp/disk" 2>&1)
has "the root disk is refused to write with EPERM" "Operation not permitted" "$said"
said=$(coracle run "$plain" sh -c 'mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg' 2>&1)
has "a character device is refused with EPERM" "Operation not permitted" "$said"
check "/dev/null works" coracle run "$plain" sh -c 'echo x >/dev/null && [ -z "$(cat /dev/null)" ]'
is "/dev/zero works" 1000 "$(coracle run "$plain" sh -c 'head -c 1000 /dev/zero | wc -c')"
is "/dev/urandom works" 1000 "$(coracle run "$plain" sh -c 'head -c 1000 /dev/urandom | wc -c')"

# What is granted is granted, so the refusals above are the rules' doing.
file=$(definition granted '"memory": 32, "linuxParameters":
    { "devices": [{ "hostPath": "/dev/vda", "containerPath": "/dev/disk", "permissions": ["read"] }] }')
is "a device of the definition is read" 512 "$(coracle run "$file" sh -c 'head -c 512 /dev/disk | wc -c')"
has "but not written without the permission" "Operation not permitted" \
    "$(coracle run "$file" sh -c ': >/dev/disk' 2>&1)"
file=$(definition privileged '"memory": 32, "privileged": true')
is "a privileged container reads the root disk" 512 "$(coracle run "$file" sh -c 'head -c 512 /dev/vda | wc -c')"
agent_stop
