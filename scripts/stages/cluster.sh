#!/usr/bin/env bash
# What the stages with a cluster share. They source it; it is no stage itself, and so not executable.
#
#   at FOLDER        where the cluster and what is told about it are, under target/
#   up ARGUMENTS     starts a new one: scripts/cluster start ARGUMENTS
#   devices COUNT    simulated ones connect to it; then `ctl` and `turn` reach the first
#   down             ends everything; also at the stage's end, whatever its result

skip() { echo "SKIPPED: $*" && exit 77; }
fail() { echo "FAILED: $*" && exit 1; }

need_haproxy() {
    command -v haproxy >/dev/null || [ -x /usr/sbin/haproxy ] || {
        [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && { apt-get install -y -qq haproxy || { apt-get update -qq && apt-get install -y -qq haproxy; }; } >/dev/null 2>&1
    } || skip "no HAProxy (Debian, Ubuntu: apt-get install haproxy)"
}

# need_memory GB: less than that free, and processes would be killed for want of it.
need_memory() {
    local free
    [ -r /proc/meminfo ] || return 0
    free=$(awk '$1 == "MemAvailable:" { printf "%d", $2 / 1048576 }' /proc/meminfo)
    [ "$free" -ge "$1" ] || skip "$free GB of memory are free, $1 GB are needed"
}

fleet=0
down() {
    [ "$fleet" = 0 ] || { kill "$fleet" 2>/dev/null && wait "$fleet" 2>/dev/null; } || true
    fleet=0
    scripts/cluster stop 2>/dev/null || true
}

at() {
    # The servers take every HEARTH_… for a setting.
    unset "${!HEARTH_@}"
    # Its own, beside one that someone uses.
    export CLUSTER_HOME=$1
    out=$1-out
    rm -rf "$out"
    mkdir -p "$out"
    trap down EXIT
    set -E
    trap 'echo "FAILED: $BASH_COMMAND (line $LINENO)"' ERR
}

up() {
    local status=0
    scripts/cluster stop --wipe 2>/dev/null || true
    scripts/cluster start "$@" >"$out/start" 2>&1 || status=$?
    [ "$status" != 77 ] || skip "$(sed -n 's/^cluster: SKIPPED: //p' "$out/start")"
    [ "$status" = 0 ] || { cat "$out/start" && fail "the cluster did not start"; }
    grep 'processes answer after' "$out/start"
}

# soon COMMAND...: tried again for a while.
soon() {
    local n
    for n in $(seq 60); do
        if "$@" >"$out/last" 2>&1; then return; fi
        sleep 0.5
    done
    cat "$out/last"
    fail "$* ($n times)"
}

ctl() { "$CLUSTER_HOME/bin/hearthctl" "$@"; }
are_there() { [ "$(ctl device list -o json | grep -c '"serialNumber"')" = "$1" ]; }

devices() {
    [ -s "$CLUSTER_HOME/secrets/onboarding" ] || { cat "$out/start" && fail "no credential of devices was written"; }
    sed -n '/^  Devices/,$p' "$out/start"
    # The addresses that the start printed.
    acs=$(sed -n 's/^  Devices connect to *//p' "$out/start")
    export HEARTH_SERVER HEARTH_TOKEN_FILE=$PWD/$CLUSTER_HOME/secrets/admin.token
    HEARTH_SERVER=http://$(sed -n 's/^  The API is at *//p' "$out/start")
    # These variables are the simulator's; the first devices inform at once.
    HEARTH_SIM_USERNAME=$(sed -n 1p "$CLUSTER_HOME/secrets/onboarding") \
        HEARTH_SIM_PASSWORD=$(sed -n 2p "$CLUSTER_HOME/secrets/onboarding") \
        target/debug/hearth-sim fleet --acs "$acs" --count "$1" --kind router --periodic 5s >"$out/fleet.log" 2>&1 &
    fleet=$!
    soon are_there "$1"
    device=$(ctl device list | awk 'NR == 2 { print $1 }')
}

# turn VALUE: sets and reads back.
turn() {
    local begun=$SECONDS
    ctl --quiet param set "$device" "Device.WiFi.SSID.1.SSID=$1" --wait-timeout 60s
    ctl --quiet param get "$device" Device.WiFi.SSID.1.SSID --wait-timeout 60s | grep -q "$1" || fail "$1 was set, and is not read"
    echo "set and read: $1 ($((SECONDS - begun)) s)"
}

# all_well: every process is there and healthy.
all_well() {
    soon scripts/cluster status
    cat "$out/last"
}

# nothing_left: ends everything, and every process is gone.
nothing_left() {
    local pid pids
    pids=$(scripts/cluster status --json | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
    down
    for pid in $pids; do
        # One that has ended may still be in the table, as Z.
        if ps -o stat= -p "$pid" | grep -qv '^Z'; then fail "process $pid was left running"; fi
    done
    scripts/cluster stop --wipe 2>/dev/null
}
