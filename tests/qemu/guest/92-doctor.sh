# On a box that does not limit memory, the doctor names the remedy: where the firmware of a Raspberry Pi looks, if there is that
# file, and the boot loader else.
# kernel: cgroup_disable=memory
. /tests/lib.sh

said=$(coracle doctor 2>&1)
is "the doctor finds an error" 1 $?
has "the check memory-cgroup is an error" "error    memory-cgroup" "$said"
has "the command line is named as the cause" "cgroup_disable=memory is on its command line" "$said"
has "the remedy names the boot loader" "/etc/default/grub" "$said"
has "the remedy names what a Raspberry Pi needs" "cgroup_enable=memory" "$said"
is "the other controllers are there" ok "$(echo "$said" | awk '$2 == "cgroups" { print $1 }')"

mkdir -p /boot/firmware
echo "console=tty1 root=PARTUUID=12345678-02 rootwait" >/boot/firmware/cmdline.txt
remedy=$(coracle doctor | awk 'found { print; exit } $2 == "memory-cgroup" { found = 1 }')
has "the remedy is a command for the file of the Raspberry Pi" "/boot/firmware/cmdline.txt && sudo reboot" "$remedy"
# All but the reboot, as it is printed.
command=$(echo "$remedy" | sed 's/^ *-> sudo //; s/ && sudo reboot$//')
eval "$command"
is "the remedy does what it should" "console=tty1 root=PARTUUID=12345678-02 rootwait cgroup_enable=memory" "$(cat /boot/firmware/cmdline.txt)"
rm -r /boot/firmware
