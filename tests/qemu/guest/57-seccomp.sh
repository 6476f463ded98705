# A container's system calls are filtered, on every processor: each has numbers of its own.
. /tests/lib.sh

export CORACLE_ALLOW_PRIVILEGED=true
agent_start
cat >/tmp/told/calls.sh <<'EOS'
try() { echo "$1: $(eval "$2" 2>&1 | tr '\n' ' ')"; }
try mode 'sed -n "s/^Seccomp:.//p" /proc/self/status'
# Anybody may make a user namespace, as far as the kernel is concerned.
try namespace 'unshare -U true && echo made'
try log 'dmesg | wc -l'
EOS
said=$(coracle run "$(told calls)" sh /told/calls.sh 2>&1)
of() { echo "$said" | sed -n "s/^$1: //p"; }
is "the filter is on" "2 " "$(of mode)"
has "a forbidden call is refused with EPERM" "Operation not permitted" "$(of namespace)"
has "so is the kernel's log" "Operation not permitted" "$(of log)"

# Without the filter the same calls pass, so the refusals are its doing.
said=$(coracle run "$(told unfiltered '"privileged": true')" sh /told/calls.sh 2>&1)
is "a privileged container has no filter" "0 " "$(of mode)"
is "there the call passes" "made " "$(of namespace)"
agent_stop
