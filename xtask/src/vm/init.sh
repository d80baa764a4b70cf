#!/bin/busybox sh
# PID 1 of the emulated machine: trace everything, run the scenario, print all of it between markers.
# A line `=== vm: NAME` starts a section that ends with the next such line (see serial.rs).
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t tracefs tracefs /sys/kernel/tracing
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# The kernel's own messages would land in the middle of a record.
dmesg -n 1
exec </dev/null >/dev/ttyS0 2>&1
ip link set lo up
for module in /modules/"$(uname -r)"/*.ko; do
    [ -e "$module" ] && insmod "$module"
done

# A listener from before attach (EARLY_PORT of verdict.rs): primed, or a named degradation.
nc -l -p 4000 >/dev/null &
tries=0
until grep -q ':0FA0 [0:]* 0A ' /proc/net/tcp /proc/net/tcp6 || [ $tries -ge 100 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
tfo-cli trace --all --format json >/tmp/trace 2>/tmp/trace-stderr &
trace=$!
tries=0
until grep -q attached /tmp/trace-stderr || ! kill -0 $trace 2>/dev/null || [ $tries -ge 600 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
tfo-lab vm-scenario --i-am-a-throwaway-vm >/tmp/scenario 2>/tmp/scenario-stderr
scenario_exit=$?
echo hello | nc -w 10 127.0.0.1 4000 >/dev/null
# Small tables: what they drop is counted (verdict/crowd.rs). No cookies are cached of these addresses.
TFO_LRU_ENTRIES=64 tfo-cli trace --format json >/tmp/crowd-trace 2>/tmp/crowd-trace-stderr &
crowd_trace=$!
tries=0
until grep -q attached /tmp/crowd-trace-stderr || ! kill -0 $crowd_trace 2>/dev/null || [ $tries -ge 600 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
tfo-lab vm-crowd >/tmp/crowd 2>/tmp/crowd-stderr
crowd_exit=$?
kill -INT $crowd_trace
wait $crowd_trace
# Enforcement: rules and a guard that deny, strip and open (addresses of tfo-lab's vm/denied.rs).
mount -t bpf bpf /sys/fs/bpf
cat >/tmp/make-policy <<'END'
set -e
tfo-cli policy add --cgroup / --dst 127.0.0.2
tfo-cli policy add --cgroup / --dst 127.0.0.3 --action strip
tfo-cli policy add --cgroup / --dst ::1 --port 4433
tfo-cli guard on --cgroup / --failures 3 --of 3
END
tfo-lab vm-denied sh -c 'sh /tmp/make-policy >/tmp/policy 2>&1' >/tmp/denied 2>/tmp/denied-stderr
denied_exit=$?
{
    tfo-cli policy list && tfo-cli guard status
    tfo-cli policy list --format json >/tmp/counters
    tc qdisc show dev lo
    tfo-cli policy flush && [ ! -e /sys/fs/bpf/tfo-cli ] && ! tc qdisc show dev lo | grep -q clsact
} >>/tmp/policy 2>&1
policy_exit=$?
tfo-cli debug programs --json >/tmp/programs 2>/tmp/programs-stderr
# Flows are reported when they end or settle; emulation is slow.
sleep 2
kill -INT $trace
wait $trace
trace_exit=$?

section() {
    echo
    echo "=== vm: $1"
}
section kernel
uname -r
for name in trace-stderr scenario-stderr scenario crowd-stderr crowd crowd-trace denied-stderr denied policy counters programs-stderr programs trace; do
    section $name
    cat /tmp/$name
done
section exit
echo "trace $trace_exit"
echo "scenario $scenario_exit"
echo "crowd $crowd_exit"
echo "denied $denied_exit"
echo "policy $policy_exit"
section end
sync
poweroff -f
