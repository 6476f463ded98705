# What the scripts share. Sourced.

pass() { echo "PASS $1"; }

# fail NAME WHY: WHY is put on one line.
fail() { echo "FAIL $1: $(echo "$2" | tr '\n' ' ' | cut -c 1-400)"; }

# check NAME COMMAND...: passes when the command does; what it wrote says why it did not.
check() {
    check_name=$1
    shift
    if check_said=$("$@" 2>&1); then pass "$check_name"; else fail "$check_name" "$* ($?): $check_said"; fi
}

# is NAME WANTED FOUND
is() {
    if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "wanted '$2', found '$3'"; fi
}

# has NAME WANTED TEXT: WANTED is in TEXT.
has() {
    case $3 in *"$2"*) pass "$1" ;; *) fail "$1" "wanted '$2' in '$3'" ;; esac
}
