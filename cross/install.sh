#!/bin/sh
# Installs Coracle on a Linux box without a package manager, upgrades it in place, or removes it. As root:
#
#   sh install.sh --from DIR-OR-URL         install or upgrade from what `cross/package` made
#   sh install.sh --uninstall [--purge]     stop all tasks and remove the program; with --purge its state and settings too
#
#   --prefix DIR      where the program goes                   [default: /usr/local]
#   --no-start        do not enable and start the agent
#
# It needs tar, gzip and sha256sum, and curl or wget for a URL. With systemd the agent is enabled and started; without,
# the last line says what is to be started. An upgrade replaces the program in one step and restarts the agent; containers run on.
# Doing any of it again is safe.
set -eu

say() { echo "install.sh: $*"; }
die() { echo "install.sh: $*" >&2; exit 1; }

from="" uninstall="" purge="" prefix=/usr/local start=yes
while [ $# -gt 0 ]; do
    case $1 in
        --from) [ $# -ge 2 ] || die "--from needs a directory or a URL"; from=$2; shift ;;
        --prefix) [ $# -ge 2 ] || die "--prefix needs a directory"; prefix=$2; shift ;;
        --uninstall) uninstall=yes ;;
        --purge) purge=yes ;;
        --no-start) start="" ;;
        -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) die "unknown: $1; --help shows what there is" ;;
    esac
    shift
done
case $prefix in
    /usr) die "--prefix /usr is for packages; use /usr/local" ;;
    /*) ;;
    *) die "--prefix must begin with /" ;;
esac
[ -z "$purge" ] || [ -n "$uninstall" ] || die "--purge goes with --uninstall"
[ "$(id -u)" = 0 ] || die "must run as root"

program=$prefix/bin/coracle
share=$prefix/share/coracle
settings=/etc/coracle
units=/etc/systemd/system

has_systemd() { [ -d /run/systemd/system ]; }
# Whether dpkg has the package; then the files are its.
is_package() {
    command -v dpkg-query >/dev/null 2>&1 \
        && dpkg-query -W -f '${Status}' coracle 2>/dev/null | grep -q '^install ok installed$'
}

# put FROM TO MODE: TO is the old file or the new one, whole, whenever the power goes.
put() {
    mkdir -p "$(dirname "$2")"
    cp "$1" "$2.new"
    chmod "$3" "$2.new"
    sync
    mv -f "$2.new" "$2"
}

uninstall() {
    if is_package; then die "this box has the Debian package: apt-get remove coracle"; fi
    if has_systemd; then
        for unit in coracle coracle-hub; do
            [ ! -e "$units/$unit.service" ] || systemctl --quiet disable --now "$unit.service"
        done
    fi
    if [ -x "$program" ]; then
        "$program" reset ${purge:+--purge} || die "the program stays until what is said above is done"
    elif [ -n "$purge" ] && [ -e /var/lib/coracle ]; then
        die "$program is gone already, and /var/lib/coracle is not: install again first, or remove it by hand"
    fi
    rm -f "$units/coracle.service" "$units/coracle-hub.service" "$prefix/share/bash-completion/completions/coracle"
    if [ -n "$purge" ]; then
        # A disk that is mounted in there is not the program's.
        for directory in "$settings" /var/lib/coracle-hub /var/lib/private/coracle-hub /run/coracle-hub; do
            if [ -e "$directory" ] || [ -L "$directory" ]; then find "$directory" -xdev -depth -delete || true; fi
        done
        if grep -q '^coracle:' /etc/group; then
            groupdel coracle 2>/dev/null || delgroup coracle 2>/dev/null || say "the group coracle stays: there is no groupdel"
        fi
    fi
    rm -rf "$share"
    rm -f "$program"
    rmdir "$prefix/share/bash-completion/completions" "$prefix/share/bash-completion" 2>/dev/null || true
    if has_systemd; then systemctl daemon-reload; fi
    say "removed"
    [ -n "$purge" ] || say "$settings and the state in /var/lib/coracle stay; --uninstall --purge removes them"
}

# fetch NAME: a file of $from into $work.
fetch() {
    case $from in
        http://* | https://*)
            if command -v curl >/dev/null 2>&1; then curl -fsSL --retry 3 -o "$work/$1" "${from%/}/$1"
            elif command -v wget >/dev/null 2>&1; then wget -q -O "$work/$1" "${from%/}/$1"
            else die "neither curl nor wget is there: fetch the files and use --from DIR"
            fi || die "cannot fetch ${from%/}/$1" ;;
        *) cp "$from/$1" "$work/$1" || die "cannot read $from/$1" ;;
    esac
}

# The architecture in Debian's words.
architecture() {
    case $(uname -m) in
        x86_64) echo amd64 ;;
        # A 64-bit kernel may have a 32-bit userland; a static program does not care.
        aarch64) echo arm64 ;;
        armv6l | armv7l | armv8l) echo armhf ;;
        *) die "there is no build for $(uname -m)" ;;
    esac
}

install_files() {
    [ -n "$from" ] || die "--from is missing; --help shows what there is"
    if is_package; then die "this box has the Debian package: apt-get install ./coracle_*.deb upgrades it"; fi
    for needed in tar gzip sha256sum; do
        command -v $needed >/dev/null 2>&1 || die "$needed is missing"
    done
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    arch=$(architecture)
    fetch SHA256SUMS
    # The newest, if there are several: names sort by version well enough within a release.
    archive=$(sed -n "s/^[0-9a-f]\{64\} [ *]\(coracle_[A-Za-z0-9.+~-]*_$arch\.tar\.gz\)\$/\1/p" "$work/SHA256SUMS" | sort | tail -n 1)
    [ -n "$archive" ] || die "SHA256SUMS in $from names no archive for $arch"
    fetch "$archive"
    (cd "$work" && grep " [ *]$archive\$" SHA256SUMS | sha256sum -c - >/dev/null 2>&1) \
        || die "$archive is damaged: its SHA-256 is not that in SHA256SUMS"
    mkdir "$work/tree"
    gzip -dc "$work/$archive" | tar -xf - -C "$work/tree"
    # Before anything is replaced: the kernel takes it, and it is whole.
    "$work/tree/usr/bin/coracle" --version >"$work/version" 2>&1 \
        || die "the program does not run on this box: $(cat "$work/version")"

    group=coracle
    if ! grep -q '^coracle:' /etc/group; then
        groupadd --system coracle 2>/dev/null || addgroup -S coracle 2>/dev/null || group=""
    fi
    if [ -z "$group" ]; then
        say "there is no groupadd: only root may use the agent's socket"
        sed -i 's/^socket_group = .*/socket_group = ""/' "$work/tree/etc/coracle/agent.toml"
    fi

    put "$work/tree/usr/bin/coracle" "$program" 755
    for file in agent.toml hub.toml; do
        # What is there may have been changed; a new version's defaults lie beside it.
        if [ ! -e "$settings/$file" ]; then put "$work/tree/etc/coracle/$file" "$settings/$file" 644; fi
        put "$work/tree/etc/coracle/$file" "$share/$file" 644
    done
    put "$work/tree/usr/share/bash-completion/completions/coracle" "$prefix/share/bash-completion/completions/coracle" 644
    for file in "$work"/tree/usr/share/doc/coracle/*; do
        [ -d "$file" ] || put "$file" "$share/$(basename "$file")" 644
    done
    for file in "$work"/tree/usr/share/doc/coracle/examples/*; do
        put "$file" "$share/examples/$(basename "$file")" 644
    done
    # For the day it is to go.
    if [ -f "$0" ]; then put "$0" "$share/install.sh" 755; fi

    if ! has_systemd; then
        say "installed: $(cat "$work/version")"
        say "no systemd here: have your supervisor start '$program agent' at boot and again whenever it ends (SIGTERM leaves the tasks running)"
        return
    fi
    for unit in coracle coracle-hub; do
        sed "s#^ExecStart=/usr/bin/coracle#ExecStart=$program#" "$work/tree/usr/lib/systemd/system/$unit.service" >"$work/$unit"
        put "$work/$unit" "$units/$unit.service" 644
    done
    systemctl daemon-reload
    if [ -n "$start" ]; then
        systemctl --quiet enable coracle.service
        systemctl restart coracle.service \
            || die "installed, but the agent does not run: 'coracle doctor' says what is missing"
    fi
    systemctl try-restart coracle-hub.service
    say "installed: $(cat "$work/version")"
}

if [ -n "$uninstall" ]; then uninstall; else install_files; fi
