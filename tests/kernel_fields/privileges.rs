//! `privileged`, `user`, `dockerSecurityOptions`, `linuxParameters.capabilities` and `devices`.

use super::inside::{PROGRAM, arguments, with_program};
use super::{Host, configured, register, run, run_task, shell, status, with};
use serde_json::{Value, json};
use std::fs;

const DEFAULT_CAPABILITIES: &str = "00000000a80425fb";
const NONE: &str = "0000000000000000";

/// What this machine lets its root have: all that there is to give.
fn all_capabilities() -> String {
    status(&fs::read_to_string("/proc/self/status").unwrap(), "CapBnd").to_owned()
}

#[test]
fn privileged_needs_the_boxs_policy() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let container = with(shell("true"), json!({"privileged": true}));
    let definition = register(
        &agent,
        "privileged",
        json!({"containerDefinitions": [
        with(shell("true"), json!({"name": "other"})), container]}),
    );
    let answer = agent.ok("RunTask", &json!({"taskDefinition": definition}));
    assert_eq!(answer["tasks"], json!([]));
    let failure = &answer["failures"][0];
    assert_eq!(failure["reason"], "ATTRIBUTE");
    let detail = failure["detail"].as_str().unwrap();
    for part in [
        "containerDefinitions[1].privileged",
        "container main",
        "com.amazonaws.ecs.capability.privileged-container",
        "allow_privileged = true",
    ] {
        assert!(detail.contains(part), "{part} in {detail}");
    }
    let instances = agent.ok("ListContainerInstances", &json!({}))["containerInstanceArns"].clone();
    let start = json!({"taskDefinition": definition, "containerInstances": instances});
    assert_eq!(agent.ok("StartTask", &start)["failures"][0]["reason"], "ATTRIBUTE");
}

#[test]
fn a_policy_that_was_withdrawn_holds_for_what_starts_anew() {
    let host = Host::new();
    let agent = configured(&host, "allow_privileged = true\n");
    let definition = register(
        &agent,
        "withdrawn",
        json!({"containerDefinitions": [
        with(shell("sleep 1000"), json!({"privileged": true}))]}),
    );
    let arn = agent.run(&definition);
    agent.wait(&arn, "RUNNING");
    agent.kill();
    host.cut_the_power();
    let agent = host.start();
    let task = agent.wait(&arn, "STOPPED");
    let reason = task["stoppedReason"].as_str().unwrap();
    assert!(
        task["containers"][0].to_string().contains("allow_privileged") || !reason.is_empty(),
        "{task:#}"
    );
    let answer = agent.ok("RunTask", &json!({"taskDefinition": definition}));
    assert_eq!(answer["failures"][0]["reason"], "ATTRIBUTE");
}

#[test]
fn a_privileged_container_has_what_the_box_has() {
    let host = Host::new();
    let agent = configured(&host, "allow_privileged = true\n");
    let instances = agent.ok("ListContainerInstances", &json!({}))["containerInstanceArns"].clone();
    let described =
        agent.ok("DescribeContainerInstances", &json!({"containerInstances": instances}));
    assert!(described.to_string().contains("com.amazonaws.ecs.capability.privileged-container"));

    let script = "cat /proc/self/status; \
        mount -t tmpfs t /mnt 2>/dev/null || { mkdir -p /mnt; mount -t tmpfs t /mnt; } && echo mounted; \
        unshare -m true && echo unshared; \
        head -c1 /dev/kmsg >/dev/null 2>&1; [ -c /dev/kmsg ] && echo kmsg; \
        mknod /tmp/mem c 1 1 && head -c1 /tmp/mem >/dev/null && echo memory; \
        cat /proc/keys >/dev/null && echo keys; \
        v=$(cat /proc/sys/kernel/panic) && echo $v >/proc/sys/kernel/panic && echo parameters; \
        v=$(cat /sys/kernel/mm/ksm/run) && echo $v >/sys/kernel/mm/ksm/run && echo sys; \
        for d in /sys/fs/cgroup/memory /sys/fs/cgroup; do mkdir $d/inner 2>/dev/null && rmdir $d/inner && echo groups; done; \
        for n in /dev/*; do echo \"node $n\"; done";
    let ended = run(&agent, "all", with(shell(script), json!({"privileged": true})));
    let text = ended.text("main");
    for key in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(status(&text, key), all_capabilities());
    }
    assert_eq!(status(&text, "Seccomp"), "0");
    assert_eq!(status(&text, "NoNewPrivs"), "0");
    let mut expected = vec!["mounted", "unshared", "kmsg", "keys", "parameters", "groups"];
    if fs::File::open("/dev/mem").is_ok() {
        expected.push("memory");
    }
    if std::path::Path::new("/sys/kernel/mm/ksm/run").exists() {
        expected.push("sys");
    }
    for word in expected {
        assert!(text.lines().any(|line| line == word), "{word} in {text}");
    }
    for node in fs::read_dir("/dev").unwrap().filter_map(Result::ok) {
        use std::os::unix::fs::FileTypeExt;
        let kind = node.file_type();
        // The console is the container's own, if it has one.
        if kind.is_ok_and(|kind| kind.is_char_device() || kind.is_block_device())
            && node.path().as_path() != std::path::Path::new("/dev/console")
        {
            let line = format!("node {}", node.path().display());
            assert!(text.contains(&line), "{line} in {text}");
        }
    }

    // Only when asked, and a user is not made root.
    let asked = json!({"privileged": true, "user": "nobody", "dockerSecurityOptions": ["no-new-privileges"]});
    let ended = run(&agent, "asked", with(shell("cat /proc/self/status"), asked));
    let text = ended.text("main");
    assert_eq!(status(&text, "NoNewPrivs"), "1");
    assert_eq!((status(&text, "CapEff"), status(&text, "CapBnd")), (NONE, &*all_capabilities()));

    // Nothing of this leaks to a container beside it that did not ask.
    let ended = run_task(
        &agent,
        "beside",
        json!({"containerDefinitions": [
        with(shell("true"), json!({"name": "strong", "privileged": true, "essential": false})),
        shell("cat /proc/self/status; ls /dev/kmsg; cat /proc/keys")]}),
    );
    let text = ended.text("main");
    assert_eq!((status(&text, "CapBnd"), status(&text, "Seccomp")), (DEFAULT_CAPABILITIES, "2"));
    assert!(text.contains("/dev/kmsg: No such file"), "{text}");
}

#[test]
fn capabilities_are_those_of_the_definition() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let full = all_capabilities();
    let net_admin = "0000000000001000";
    let cases = [
        ("default", json!({}), DEFAULT_CAPABILITIES.to_owned()),
        ("drop-all", json!({"drop": ["ALL"]}), NONE.to_owned()),
        ("add-all", json!({"add": ["ALL"]}), full.clone()),
        ("all-both", json!({"add": ["ALL"], "drop": ["ALL"]}), full),
        ("drop-all-add", json!({"drop": ["ALL"], "add": ["NET_ADMIN"]}), net_admin.to_owned()),
        (
            "add-and-drop",
            json!({"add": ["NET_ADMIN"], "drop": ["NET_RAW", "MKNOD"]}),
            "00000000a00415fb".to_owned(),
        ),
    ];
    for (name, change, expected) in cases {
        let parameters = json!({"linuxParameters": {"capabilities": change}});
        let ended = run(&agent, name, with(shell("cat /proc/self/status"), parameters));
        let text = ended.text("main");
        for key in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(status(&text, key), expected, "{name} {key}");
        }
        assert_eq!((status(&text, "CapInh"), status(&text, "CapAmb")), (NONE, NONE));
        assert_eq!(status(&text, "Seccomp"), "2", "{name}");
    }
    // ALL but one.
    let change =
        json!({"linuxParameters": {"capabilities": {"add": ["ALL"], "drop": ["SYS_ADMIN"]}}});
    let ended = run(
        &agent,
        "all-but",
        with(
            shell("cat /proc/self/status; mkdir -p /m; mount -t tmpfs t /m || echo refused"),
            change,
        ),
    );
    let text = ended.text("main");
    let without = u64::from_str_radix(&all_capabilities(), 16).unwrap() & !(1 << 21);
    assert_eq!(status(&text, "CapEff"), format!("{without:016x}"));
    assert!(text.contains("refused"), "{text}");

    let error = agent
        .call(
            "RegisterTaskDefinition",
            &json!({"family": "unknown", "containerDefinitions": [
            with(shell("true"), json!({"linuxParameters": {"capabilities": {"add": ["FLY"]}}}))]}),
        )
        .unwrap_err();
    assert!(error.message.contains("FLY"), "{error:?}");
}

#[test]
fn users_are_found_by_name_and_number() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let passwd =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/images/busybox/passwd")).unwrap();
    let group =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/images/busybox/group")).unwrap();
    assert!(
        passwd.contains("nobody:x:65534:65534:") && group.contains("daemon:x:1:"),
        "{passwd}{group}"
    );
    let cases = [
        (None, "0 0 0"),
        (Some("nobody"), "65534 65534 65534 50"),
        (Some("65534"), "65534 65534 65534 50"),
        (Some("nobody:daemon"), "65534 1 1"),
        (Some("65534:1"), "65534 1 1"),
        (Some("nobody:7"), "65534 7 7"),
        (Some("4242:daemon"), "4242 1 1"),
        (Some("4242"), "4242 0 0"),
        (Some("4242:4243"), "4242 4243 4243"),
    ];
    for (at, (user, expected)) in cases.into_iter().enumerate() {
        let member = user.map_or_else(|| json!({}), |user| json!({"user": user}));
        let script = "echo $(id -u) $(id -g) $(id -G); cat /proc/self/status";
        let ended = run(&agent, &format!("user{at}"), with(shell(script), member));
        assert_eq!(ended.lines()[0], expected, "{user:?}");
        let root = expected.starts_with("0 ");
        let text = ended.text("main");
        assert_eq!(status(&text, "CapEff") == NONE, !root, "{user:?}");
        assert_eq!(status(&text, "CapBnd"), DEFAULT_CAPABILITIES);
    }
    for (user, reason) in
        [("eve", "unable to find user eve"), ("nobody:eve", "unable to find group eve")]
    {
        let ended = run(&agent, "nouser", with(shell("true"), json!({"user": user})));
        assert!(ended.reason().contains(reason), "{:#}", ended.task);
    }
}

#[test]
fn no_new_privileges_holds_and_other_options_are_refused() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    // A program that makes whoever executes it root.
    let script = format!(
        "cp {PROGRAM} /tmp/root; chmod 4755 /tmp/root; exec su -s /bin/sh nobody -c '/tmp/root {}'",
        arguments("identity")
    );
    let option = |options: Value| json!({"dockerSecurityOptions": options});
    for (family, options, expected) in [
        ("may", json!([]), "uid 65534 euid 0 no_new_privs 0"),
        ("never", json!(["no-new-privileges"]), "uid 65534 euid 65534 no_new_privs 1"),
    ] {
        let ended = run_task(&agent, family, with_program(with(shell(&script), option(options))));
        assert!(ended.lines().contains(&expected), "{}", ended.text("main"));
    }

    for refused in ["apparmor:docker-default", "label:disable", "label:type:svirt_apache_t"] {
        let container = with(shell("true"), option(json!([refused])));
        let input = json!({"family": "options", "networkMode": "none", "containerDefinitions": [container]});
        let error = agent
            .call("RegisterTaskDefinition", &input)
            .and_then(|_| agent.call("RunTask", &json!({"taskDefinition": "options"})));
        let message = error.unwrap_err().message;
        assert!(message.contains("containerDefinitions[0].dockerSecurityOptions"), "{message}");
        assert!(message.contains("no-new-privileges"), "the remedy in {message}");
    }
}

#[test]
fn devices_have_the_permissions_of_the_definition() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let device = |members: Value| {
        // Reading the kernel's messages takes this capability besides.
        json!({"linuxParameters": {"capabilities": {"add": ["SYSLOG"]},
            "devices": [with(json!({"hostPath": "/dev/kmsg", "containerPath": "/dev/k"}), members)]}})
    };
    // Opened without anything being read or written: messages of the kernel are the box's.
    let script = "(: </dev/k) && echo read; (: >>/dev/k) && echo write; \
        mknod /tmp/k c 1 11 && { (: </tmp/k) && echo mknod-read; (: >>/tmp/k) && echo mknod-write; }; \
        mknod /tmp/mem c 1 1 && { (: </tmp/mem) || echo fenced; }; stat -c '%t:%T %F' /dev/k";
    for (permissions, expected) in [
        (json!({}), "read write mknod-read mknod-write"),
        (json!({"permissions": ["read", "write", "mknod"]}), "read write mknod-read mknod-write"),
        (json!({"permissions": ["read"]}), "read mknod-read"),
        (json!({"permissions": ["write"]}), "write mknod-write"),
    ] {
        let ended = run(&agent, "device", with(shell(script), device(permissions)));
        assert_eq!(
            ended.lines().join(" "),
            format!("{expected} fenced 1:b character special file")
        );
    }

    // A directory brings the devices below it.
    let ended = run(
        &agent,
        "directory",
        with(
            shell("ls /dev/all; (: </dev/all/kmsg) && echo read; (: >>/dev/all/kmsg) || echo not"),
            json!({"linuxParameters": {"capabilities": {"add": ["SYSLOG"]},
                "devices": [{"hostPath": "/dev", "containerPath": "/dev/all", "permissions": ["read"]}]}}),
        ),
    );
    let text = ended.text("main");
    assert!(text.contains("kmsg\n") && text.contains("read\n") && text.contains("not\n"), "{text}");
    assert!(!text.contains("shm") && !text.contains("pts"), "{text}");

    for (path, reason) in [("/dev/none-such", "/dev/none-such"), ("/etc/passwd", "not a device")] {
        let container =
            with(shell("true"), json!({"linuxParameters": {"devices": [{"hostPath": path}]}}));
        let ended = run(&agent, "nodevice", container);
        assert!(
            ended.reason().starts_with("CannotCreateContainerError")
                && ended.reason().contains(reason),
            "{:#}",
            ended.task
        );
    }
}
