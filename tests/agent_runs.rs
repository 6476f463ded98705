//! A task's life through the real agent: order, ends, limits and what is said of them.

#![allow(clippy::unwrap_used, reason = "a test ends when something cannot be read or run")]
#![allow(clippy::needless_pass_by_value, reason = "definitions are written in place")]

mod agent;
mod mapped;

use agent::{Agent, Host, PATIENCE};
use mapped::text_of;
use serde_json::{Value, json};
use std::time::Duration;

fn shell(name: &str, script: &str) -> Value {
    json!({"name": name, "image": "coracle/busybox", "memory": 32, "stopTimeout": 2, "command": ["sh", "-c", script]})
}

fn with(mut container: Value, members: Value) -> Value {
    let members = members.as_object().unwrap().clone();
    container.as_object_mut().unwrap().extend(members);
    container
}

/// Runs the containers to their end and returns the stopped task.
fn to_the_end(agent: &Agent<'_>, family: &str, containers: Value) -> (String, Value) {
    let arn = agent.run(&agent.register_all(family, containers));
    let task = agent.wait(&arn, "STOPPED");
    (arn, task)
}

fn lines(agent: &Agent<'_>, arn: &str, container: &str) -> Vec<String> {
    let of = agent.output(arn).into_iter().filter(|(name, _, _)| name == container);
    of.map(|(_, _, text)| text.trim_end().to_owned()).collect()
}

fn container<'a>(task: &'a Value, name: &str) -> &'a Value {
    task["containers"].as_array().unwrap().iter().find(|c| c["name"] == name).unwrap()
}

#[test]
fn ends_are_told_as_ecs_tells_them() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);

    let (arn, task) =
        to_the_end(&agent, "code", json!([shell("main", "echo out; echo err >&2; exit 5")]));
    assert_eq!(container(&task, "main")["exitCode"], 5);
    assert_eq!(task["stopCode"], "EssentialContainerExited");
    assert_eq!(task["stoppedReason"], "Essential container in task exited");
    let mut output = agent.output(&arn);
    output.sort();
    assert_eq!(
        output,
        [
            ("main".into(), "stderr".into(), "err\n".into()),
            ("main".into(), "stdout".into(), "out\n".into())
        ]
    );

    let (_, task) = to_the_end(&agent, "signal", json!([shell("main", "kill -SEGV $$")]));
    assert_eq!(task["lastStatus"], "STOPPED");

    let hog = "x=a; while :; do x=$x$x; done";
    let (_, task) = to_the_end(&agent, "hog", json!([shell("main", hog)]));
    let main = container(&task, "main");
    assert_eq!(main["exitCode"], 137, "{task:#}");
    assert!(main["reason"].as_str().unwrap().starts_with("OutOfMemoryError"), "{task:#}");

    let missing = json!([{"name": "main", "image": "coracle/busybox", "memory": 32, "command": ["/no/such/file"]}]);
    let (_, task) = to_the_end(&agent, "missing", missing);
    assert_eq!(task["stopCode"], "TaskFailedToStart", "{task:#}");
    assert!(
        container(&task, "main")["reason"]
            .as_str()
            .unwrap()
            .starts_with("CannotStartContainerError"),
        "{task:#}"
    );

    let no_image = json!([{"name": "main", "image": "127.0.0.1:1/nothing:here", "memory": 32}]);
    let (_, task) = to_the_end(&agent, "noimage", no_image);
    assert_eq!(task["stopCode"], "TaskFailedToStart", "{task:#}");
    assert!(
        task["stoppedReason"].as_str().unwrap().contains("CannotPullContainerError"),
        "{task:#}"
    );
}

#[test]
fn stop_sends_the_stop_signal_then_kills() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let polite = agent.run(&agent.register(
        "polite",
        shell("main", "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done"),
    ));
    let deaf =
        agent.run(&agent.register(
            "deaf",
            shell("main", "trap '' TERM; echo ready; while :; do sleep 0.01; done"),
        ));
    for arn in [&polite, &deaf] {
        agent.wait(arn, "RUNNING");
        let id = arn.rsplit('/').next().unwrap();
        let mut output = agent.lines(&format!("/coracle/v1/logs?task={id}&follow=true"));
        assert_eq!(output.next().unwrap()["log"], "ready\n");
        let answer = agent.ok("StopTask", &json!({"task": arn, "reason": "enough"}));
        assert_eq!(answer["task"]["desiredStatus"], "STOPPED");
    }
    let task = agent.wait(&polite, "STOPPED");
    assert_eq!(container(&task, "main")["exitCode"], 0);
    assert_eq!(task["stoppedReason"], "enough");
    assert_eq!(lines(&agent, &polite, "main"), ["ready", "bye"]);
    let task = agent.wait(&deaf, "STOPPED");
    assert_eq!(container(&task, "main")["exitCode"], 137);
}

#[test]
fn containers_start_in_the_order_they_depend_on_each_other() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let out = host.dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let note = |name: &str, then: &str| {
        with(
            shell(name, &format!("echo {name} >> /out/order; {then}")),
            json!({"mountPoints": [{"sourceVolume": "out", "containerPath": "/out"}]}),
        )
    };
    let after = |name: &str, condition: &str| json!({"dependsOn": [{"containerName": name, "condition": condition}]});
    let aside = json!({"essential": false});
    let containers = json!([
        with(note("last", "exit 0"), after("healthy", "HEALTHY")),
        with(
            with(
                note("healthy", "sleep 0.2; touch /tmp/ok; sleep 1000"),
                after("succeeds", "SUCCESS")
            ),
            json!({"healthCheck": {"command": ["CMD-SHELL", "test -e /tmp/ok"], "interval": 5, "retries": 2}})
        ),
        with(with(note("succeeds", "exit 0"), after("completes", "COMPLETE")), aside.clone()),
        with(with(note("completes", "exit 1"), after("first", "START")), aside.clone()),
        with(note("first", "sleep 1000"), aside),
    ]);
    let input = json!({
        "family": "ordered", "networkMode": "none", "containerDefinitions": containers,
        "volumes": [{"name": "out", "host": {"sourcePath": out.to_str().unwrap()}}]
    });
    agent.ok("RegisterTaskDefinition", &input);
    let arn = agent.run("ordered");
    let task = agent.wait(&arn, "STOPPED");
    assert_eq!(container(&task, "last")["exitCode"], 0, "{task:#}");
    let order = std::fs::read_to_string(out.join("order")).unwrap();
    assert_eq!(
        order.split_whitespace().collect::<Vec<_>>(),
        ["first", "completes", "succeeds", "healthy", "last"]
    );
}

#[test]
fn a_dependency_that_fails_stops_the_task() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let containers = json!([
        with(
            shell("main", "exit 0"),
            json!({"dependsOn": [{"containerName": "init", "condition": "SUCCESS"}]})
        ),
        with(shell("init", "exit 3"), json!({"essential": false})),
    ]);
    let (_, task) = to_the_end(&agent, "failing", containers);
    assert_eq!(container(&task, "init")["exitCode"], 3);
    assert!(container(&task, "main")["exitCode"].is_null(), "{task:#}");
    assert_eq!(task["stopCode"], "TaskFailedToStart", "{task:#}");
}

#[test]
fn health_checks_run_in_the_container_and_make_its_health() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let checked = |name: &str, essential: bool, check: Value| {
        let mut check = check;
        check["interval"] = json!(5);
        check["timeout"] = json!(2);
        check["retries"] = json!(1);
        let sleeper = shell(name, "touch /tmp/started; exec sleep 1000");
        with(
            sleeper,
            json!({"essential": essential, "stopTimeout": 1, "user": "daemon:daemon",
                   "environment": [{"name": "GREETING", "value": "hello there"}], "healthCheck": check}),
        )
    };
    // Its file system, user and environment are those of the container.
    let inside =
        "test -e /tmp/started && test $(id -un) = daemon && test \"$GREETING\" = 'hello there'";
    let task = agent.run(&agent.register_all(
        "checked",
        json!([
            checked("shell", true, json!({"command": ["CMD-SHELL", inside]})),
            checked("exec", true, json!({"command": ["CMD", "test", "-e", "/tmp/started"]})),
            checked("fails", false, json!({"command": ["CMD-SHELL", "exit 3"]})),
            checked("hangs", false, json!({"command": ["CMD", "sleep", "1000"]})),
            checked("starts", false, json!({"command": ["CMD", "false"], "startPeriod": 300})),
            checked("none", false, json!({"command": ["NONE"]})),
        ]),
    ));
    let status = |task: &Value, name: &str| container(task, name)["healthStatus"].clone();
    let task = agent.wait_until(&task, "a verdict for each container", |task| {
        let verdict = |name| status(task, name) != "UNKNOWN";
        ["shell", "exec", "fails", "hangs"].into_iter().all(verdict)
    });
    assert_eq!(status(&task, "shell"), "HEALTHY", "{task:#}");
    assert_eq!(status(&task, "exec"), "HEALTHY", "{task:#}");
    assert_eq!(status(&task, "fails"), "UNHEALTHY", "{task:#}");
    assert_eq!(status(&task, "hangs"), "UNHEALTHY", "{task:#}");
    assert_eq!(status(&task, "starts"), "UNKNOWN", "{task:#}");
    assert_eq!(status(&task, "none"), "UNKNOWN", "{task:#}");
    // That of the task is that of its essential containers; ECS stops no task for its health.
    assert_eq!(task["healthStatus"], "HEALTHY", "{task:#}");
    assert_eq!(task["lastStatus"], "RUNNING", "{task:#}");
}

#[test]
fn a_restart_policy_brings_a_container_back_within_its_task() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let policy = json!({"restartPolicy": {"enabled": true, "ignoredExitCodes": [3], "restartAttemptPeriod": 60}});
    // What a run writes the next one finds; the third ends for good.
    let counts = shell("app", "echo x >> /runs; n=$(wc -l < /runs); echo run $n; exit $n");
    let arn = agent.register("counts", with(counts, policy));
    let task = agent.run(&arn);
    let waits = agent.wait_until(&task, "the first restart", |task| {
        task["containers"][0]["reason"].as_str().is_some_and(|r| r.contains("restart 1 follows"))
    });
    assert_eq!(waits["lastStatus"], "RUNNING", "{waits:#}");
    let back_off = "exited with code 1 after 0 s; backing off, restart 1 follows in 1 s";
    assert_eq!(waits["containers"][0]["reason"], back_off, "{waits:#}");
    assert_eq!(waits["containers"][0]["exitCode"], 1, "{waits:#}");
    let ended = agent.wait(&task, "STOPPED");
    assert_eq!(ended["containers"][0]["exitCode"], 3, "{ended:#}");
    assert_eq!(ended["stoppedReason"], "Essential container in task exited");
    assert_eq!(lines(&agent, &task, "app"), ["run 1", "run 2", "run 3"]);
}

#[test]
fn what_is_not_supported_is_refused_by_name_when_it_is_registered() {
    let host = Host::new();
    let agent = host.start();
    let gpu = json!({"resourceRequirements": [{"type": "GPU", "value": "1"}]});
    let container = with(shell("main", "true"), gpu);
    let input = json!({"family": "mighty", "containerDefinitions": [container]});
    let error = agent.call("RegisterTaskDefinition", &input).unwrap_err();
    assert_eq!(error.kind, "ClientException");
    assert_eq!(
        error.message,
        "containerDefinitions[0].resourceRequirements is not supported: leave it out"
    );
    assert_eq!(agent.ok("ListTaskDefinitions", &json!({}))["taskDefinitionArns"], json!([]));
}

#[test]
fn a_box_that_is_full_says_which_resource_is_short() {
    let host = Host::new();
    let agent = host.start();
    let greedy = json!({"name": "main", "image": "coracle/hello", "memory": 100_000_000});
    let definition = agent.register("greedy", greedy);
    let answer = agent.ok("RunTask", &json!({"taskDefinition": definition}));
    assert_eq!(answer["tasks"], json!([]));
    assert_eq!(answer["failures"][0]["reason"], "RESOURCE:MEMORY", "{answer}");
}

#[test]
fn two_agents_run_side_by_side() {
    let (one, two) = (Host::new(), Host::new());
    let (first, second) = (one.start(), two.start());
    let hello = json!({"name": "main", "image": "coracle/hello", "memory": 16});
    let a = first.run(&first.register("hello", hello.clone()));
    let b = second.run(&second.register("hello", hello));
    assert_eq!(container(&first.wait(&a, "STOPPED"), "main")["exitCode"], 0);
    assert_eq!(container(&second.wait(&b, "STOPPED"), "main")["exitCode"], 0);
    assert_eq!(first.ok("ListTasks", &json!({"desiredStatus": "STOPPED"}))["taskArns"], json!([a]));
    assert_eq!(
        second.ok("ListTasks", &json!({"desiredStatus": "STOPPED"}))["taskArns"],
        json!([b])
    );

    let clash = one.agent_command().output().unwrap();
    assert!(!clash.status.success(), "a second agent on the same directories must not start");
}

#[test]
fn an_agent_that_has_come_to_rest_gives_back_what_its_start_took() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    to_the_end(&agent, "short", json!([shell("main", "exit 0")]));
    let busy = text_of(agent.pid()).1;
    // It rests once nothing has changed for a minute. Nobody tells when; to look is work for the kernel. What it needs to
    // wait for more comes back at once, in pieces as large as the page cache has them.
    let seconds = PATIENCE.as_secs() * 3;
    let at_rest = (0..seconds).find_map(|_| {
        std::thread::sleep(Duration::from_secs(1));
        let (all, mapped) = text_of(agent.pid());
        (mapped < busy / 4 * 3).then_some((all, mapped))
    });
    let (all, mapped) = at_rest.unwrap_or_else(|| panic!("{busy} kB are mapped for {seconds} s"));
    assert!(mapped > 0 && busy < all, "{mapped} and {busy} of {all} kB");
    // What it needs again it has again.
    to_the_end(&agent, "short", json!([shell("main", "exit 0")]));
}
