#!/bin/sh
# tests/demo.sh BINARY: the main job before your eyes. A private daemon in a temporary root; nothing of it stays.
set -eu

binary=$1
[ "$(id -u)" = 0 ] || { echo "the demo makes containers: run it as root" >&2; exit 1; }
directory=$(mktemp -d /tmp/isulabox-demo.XXXXXX)
cgroup=/isulabox-demo-$$
export ISULAD_HOST="unix://$directory/isulad.sock"
export PATH="$directory/bin:$PATH"

leave() {
    code=$?
    trap - EXIT INT TERM
    if [ -n "${daemon:-}" ] && kill -0 "$daemon" 2>/dev/null; then
        isula ps -aq 2>/dev/null | while read -r id; do isula rm -f "$id" >/dev/null || true; done
        kill "$daemon"
        wait "$daemon" || true
    fi
    if [ "$code" != 0 ] && [ -e "$directory/isulad.log" ]; then
        echo "--- the daemon's log" >&2
        tail -n 30 "$directory/isulad.log" >&2
    fi
    mountpoint -q "$directory/graph" && umount "$directory/graph"
    rm -rf "$directory"
    find /sys/fs/cgroup -depth -type d -path "*$cgroup*" -exec rmdir {} + 2>/dev/null || true
    exit "$code"
}
trap leave EXIT
trap 'exit 130' INT TERM

# Shows a command as typed, then runs it.
show() {
    printf '\n\033[1m$'
    for word in "$@"; do
        case $word in
            *[!A-Za-z0-9_./:=,@%+-]*) printf " '%s'" "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\033[0m\n'
    "$@"
}

# A root file system out of the machine's static busybox.
make_rootfs() {
    root=$directory/rootfs
    mkdir -p "$root/bin" "$root/etc" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/root"
    cp "$(command -v busybox)" "$root/bin/busybox"
    for applet in $("$root/bin/busybox" --list | grep -vx busybox); do
        ln -sf busybox "$root/bin/$applet"
    done
    echo 'root:x:0:0::/root:/bin/sh' >"$root/etc/passwd"
    echo 'root:x:0:' >"$root/etc/group"
    tar -C "$root" -cf "$directory/busybox.tar" .
}

# One line of resource use, straight from the container's cgroup (v1 or v2).
usage_line() {
    pid=$(isula inspect "$1" | sed -n 's/^ *"Pid": \([0-9]*\).*/\1/p')
    for file in memory.current memory.usage_in_bytes; do
        while IFS=: read -r _ controllers path; do
            for top in "/sys/fs/cgroup$path" "/sys/fs/cgroup/unified$path" "/sys/fs/cgroup/$controllers$path"; do
                if [ -r "$top/$file" ]; then
                    memory=$(cat "$top/$file")
                    break 3
                fi
            done
        done <"/proc/$pid/cgroup"
    done
    threads=$(find "/proc/$pid/task" -mindepth 1 -maxdepth 1 | wc -l)
    echo "container $1: pid $pid on the host, $((${memory:-0} / 1024)) KiB memory, $threads thread(s)"
}

start_daemon() {
    echo '{}' >"$directory/daemon.json" # not the machine's own
    isulad --config "$directory/daemon.json" -H "$ISULAD_HOST" --graph "$directory/graph" \
        --state "$directory/state" --pidfile "$directory/isulad.pid" \
        --cgroup-parent "$cgroup" --log-driver stderr 2>>"$directory/isulad.log" &
    daemon=$!
    tries=0
    until isula version >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" = 200 ] || ! kill -0 "$daemon"; then
            echo "the daemon does not answer" >&2
            exit 1
        fi
        sleep 0.05
    done
}

mkdir "$directory/bin" "$directory/graph"
"$binary" --install "$directory/bin"
# An overlay cannot lie on an overlay, which is what many build machines give us.
if [ "$(stat -f -c %T "$directory")" = overlayfs ]; then
    mount -t tmpfs tmpfs "$directory/graph"
fi
make_rootfs

echo "One static binary, four programs:"
ls -l "$(readlink -f "$binary")"
ls -l "$directory/bin" | sed -n 's/.* \([a-z-]*\) -> .*/  \1/p'

start_daemon

show isula version
show isula import "$directory/busybox.tar" busybox
show isula images
show isula run --rm busybox echo 'hello from a container'
show isula run --rm --hostname board -m 64m --cpus 0.5 --read-only busybox sh -c 'hostname; id; ps'
show isula run -d --name web busybox sh -c 'mkdir /www; echo it works > /www/index.html; echo serving; httpd -f -v -p 80 -h /www'
show isula ps
show isula exec web wget -q -O - http://127.0.0.1/
show isula logs web
show usage_line web
show isula top web
echo
echo 'kill -9 of the daemon, and a new one: the container does not notice.'
kill -9 "$daemon"
wait "$daemon" 2>/dev/null || true
start_daemon
show isula ps
show isula exec web wget -q -O - http://127.0.0.1/
show isula stop -t 1 web
show isula ps -a
show isula rm web
show isula rmi busybox
echo
sync    # a binary just written is dirty memory until then
sleep 1 # and half a second after its last work the daemon lets go of the code that it ran
echo "private memory of the daemon at rest: $(awk '/^Private/ { n += $2 } END { print n }' "/proc/$daemon/smaps_rollup") KiB"
echo 'That was the main job; everything it made is removed now.'
