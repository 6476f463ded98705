# A box without a battery starts in 1970, is told nonsense, then the time, and is set back by hours while no agent looks.
# rtc: 1970-01-01T00:00:30
. /tests/lib.sh
told_memory=16

is "the clock is not set" 1970 "$(date -u +%Y)"
agent_start
steady=$(start "$(told steady '"healthCheck": { "command": ["CMD-SHELL", "test ! -e /told/ill"], "interval": 5, "retries": 1 }')" \
    sh -c 'i=0; while :; do i=$((i + 1)); echo "line $i"; usleep 100000; done')
crashes=$(start "$(told crashes '"restartPolicy": { "enabled": true, "restartAttemptPeriod": 60 }')" \
    sh -c 'echo started >>/told/starts; exit 1')
starts() { wc -l </tmp/told/starts; }
crashed_often() { [ "$(starts)" -ge 3 ]; }
health_is() { [ "$(describe "$steady" | member healthStatus)" = "$1" ]; }
check "in 1970 a container that crashes is started again" eventually crashed_often
check "in 1970 a task becomes healthy" eventually health_is HEALTHY

again() { [ "$(starts)" -gt "$count" ]; }
date -u -s "2099-12-30 00:00:00" >/dev/null
count=$(starts)
check "after a step to 2099 it is started again" eventually again
has "in 2099 a task runs" "said in 2099" "$(coracle run --output json "$(told future)" sh -c 'echo said in 2099; exit 3')"

date -u -s "2026-11-22 10:00:00" >/dev/null
count=$(starts)
check "after a step back to 2026 it is started again" eventually again
touch /tmp/told/ill
check "a failing health check is noticed" eventually health_is UNHEALTHY
rm /tmp/told/ill
check "and that it passes again" eventually health_is HEALTHY
has "what ended in 2099 can be described" '"exitCode": 3' "$(coracle ps --all --output json)"

agent_stop
date -u -s "2026-11-22 04:00:00" >/dev/null
agent_start
count=$(starts)
check "after a step back that nobody saw it is started again" eventually again
is "of the log no line is missing" "" "$(coracle logs "$steady" | awk '$2 != NR' | head -n 1)"
date -u -s "2026-11-22 04:00:00" >/dev/null
first=$(start "$(told repeated)" sleep 100)
date -u -s "2026-11-22 04:00:00" >/dev/null
second=$(start "$(told repeated)" sleep 100)
check "no id comes twice when time does" [ "$first" != "$second" ]
check "a task is stopped" coracle stop "$first"
check "and its cgroup is removed" eventually gone "$first"
agent_stop
is "the agent ends well" 0 $?
