"""What the API of a large fleet answers per second: `python3 benches/api/measure.py BINARY [BOXES]`.

Starts `coracle hub --simulate` in a directory of its own, makes up BOXES boxes (5,000) with ten tasks each in services of
a hundred, and asks with 8 connections at a time. Prints a table; needs no root and nothing but Python.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

CONNECTIONS = 8
SECONDS = 5
PORT = 51_881


def connect():
    return http.client.HTTPConnection("127.0.0.1", PORT, timeout=120)


def call(connection, operation, **request):
    headers = {"X-Amz-Target": f"AmazonEC2ContainerServiceV20141113.{operation}", "Content-Type": "application/x-amz-json-1.1"}
    connection.request("POST", "/", json.dumps(request), headers)
    response = connection.getresponse()
    answer = json.loads(response.read())
    assert response.status == 200, f"{operation}: {answer}"
    return answer


def measure(name, request):
    """Requests per second and the 99th percentile, of `request(connection, number)` over all connections."""
    times, end = [], time.monotonic() + SECONDS

    def ask(first):
        connection, number = connect(), first
        while time.monotonic() < end:
            began = time.monotonic()
            request(connection, number)
            times.append(time.monotonic() - began)
            number += CONNECTIONS

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(CONNECTIONS)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    times.sort()
    p99 = times[len(times) * 99 // 100 - 1] if times else float("nan")
    print(f"| {name} | {len(times) / SECONDS:,.0f} | {p99 * 1000:.1f} ms |", flush=True)


def main(binary, boxes):
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        arguments = ["--state-dir", f"{place}/state", "--run-dir", f"{place}/run", "--listen", f"127.0.0.1:{PORT}", "--log", "warn"]
        hub = subprocess.Popen([binary, "hub", "--simulate", *arguments, "--account", "123456789012", "--region", "local"])
        try:
            while True:
                try:
                    connection = connect()
                    connection.connect()
                    break
                except ConnectionRefusedError:
                    assert hub.poll() is None, "the hub has ended"
            began = time.monotonic()
            resources = [{"name": "CPU", "type": "INTEGER", "integerValue": 4096}, {"name": "MEMORY", "type": "INTEGER", "integerValue": 4096}]
            for number in range(boxes):
                call(connection, "RegisterContainerInstance", totalResources=resources, attributes=[{"name": "zone", "value": f"z{number % 5}"}])
            container = {"name": "app", "image": "nowhere.invalid/app", "cpu": 64, "memory": 64}
            call(connection, "RegisterTaskDefinition", family="app", containerDefinitions=[container])
            for number in range(boxes // 10):
                call(connection, "CreateService", serviceName=f"s{number}", taskDefinition="app", desiredCount=100)
            tasks = []
            for number in range(boxes // 10):
                tasks.append(call(connection, "ListTasks", serviceName=f"s{number}")["taskArns"])
            count = sum(map(len, tasks))
            resident = next(line for line in open(f"/proc/{hub.pid}/status") if line.startswith("VmRSS")).split()[1]
            print(f"{boxes} boxes, {count} tasks, made in {time.monotonic() - began:.0f} s, {int(resident) // 1024} MiB resident\n")
            print("| request | a second | p99 |\n| --- | --- | --- |")
            measure("DescribeTasks, 1 task", lambda c, n: call(c, "DescribeTasks", tasks=[tasks[n % len(tasks)][n % 100]]))
            measure("DescribeTasks, 100 tasks", lambda c, n: call(c, "DescribeTasks", tasks=tasks[n % len(tasks)]))
            measure("ListTasks of a service", lambda c, n: call(c, "ListTasks", serviceName=f"s{n % len(tasks)}"))
            measure("ListTasks, a page of all", lambda c, n: call(c, "ListTasks"))
            measure("RunTask, 1 task", lambda c, n: call(c, "RunTask", taskDefinition="app", count=1))
            measure("RunTask, 10 tasks", lambda c, n: call(c, "RunTask", taskDefinition="app", count=10))
        finally:
            hub.send_signal(signal.SIGTERM)
            hub.wait()


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5000)
