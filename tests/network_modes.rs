//! Network modes through the real agent: who reaches whom, what is shown, what is left behind.
//!
//! Each test has a box of its own: a network namespace with an outside beside it, in which the agent runs.

#![allow(clippy::unwrap_used, reason = "a test ends when something cannot be read or run")]
#![allow(clippy::needless_pass_by_value, reason = "definitions are written in place")]

mod agent;
mod netbox;

use agent::{Agent, Host, PATIENCE, wait_for};
use netbox::{BOX, BOX6, Ground, Server, bound_soon, inside, on_a_box};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

/// Runs `test` on a box of its own, with the agent of a host of its own; at the end the box must be as before.
fn with_agent(test: impl for<'h> FnOnce(&Ground, &'h Host, Agent<'h>) + Send + 'static) {
    let machine: OwnedFd = File::open("/proc/thread-self/ns/net").unwrap().into();
    on_a_box(async move |ground| {
        let host = Host::new();
        let agent = host.start();
        // The image is made of packages, which are not to be had on this box.
        inside(&machine, || host.load_busybox(&agent));
        test(&ground, &host, agent);
        ground.settle();
    });
}

fn shell(name: &str, script: &str, members: Value) -> Value {
    let mut container = json!({"name": name, "image": "coracle/busybox", "memory": 32, "stopTimeout": 1,
        "command": ["sh", "-c", script]});
    container.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    container
}

/// A container that says its name to whoever connects to `port`.
fn server(name: &str, port: u16, members: Value) -> Value {
    shell(name, &format!("exec nc -ll -p {port} -e echo {name}"), members)
}

fn register(agent: &Agent<'_>, family: &str, members: Value, containers: Value) -> String {
    let mut input = json!({"family": family, "containerDefinitions": containers});
    input.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let answer = agent.ok("RegisterTaskDefinition", &input);
    format!("{family}:{}", answer["taskDefinition"]["revision"])
}

/// Runs a definition without `networkMode` and waits until it runs.
fn run(agent: &Agent<'_>, family: &str, containers: Value) -> (String, Value) {
    let arn = agent.run(&register(agent, family, json!({}), containers));
    let task = agent.wait(&arn, "RUNNING");
    (arn, task)
}

fn run_in_vpc(agent: &Agent<'_>, definition: &str, public: &str) -> Value {
    let configuration = json!({"awsvpcConfiguration": {
        "subnets": ["subnet-1"], "securityGroups": ["sg-1"], "assignPublicIp": public}});
    agent.ok(
        "RunTask",
        &json!({"taskDefinition": definition, "networkConfiguration": configuration}),
    )
}

fn stop(agent: &Agent<'_>, arn: &str) -> Value {
    agent.ok("StopTask", &json!({"task": arn}));
    agent.wait(arn, "STOPPED")
}

fn container<'a>(task: &'a Value, name: &str) -> &'a Value {
    task["containers"].as_array().unwrap().iter().find(|c| c["name"] == name).unwrap()
}

fn output(agent: &Agent<'_>, arn: &str, container: &str) -> Vec<String> {
    let of = agent.output(arn).into_iter().filter(|(name, _, _)| name == container);
    of.map(|(_, _, text)| text.trim_end().to_owned()).collect()
}

/// The port of the box for a port of the container.
fn host_port(task: &Value, name: &str, port: u16) -> u16 {
    let bindings = container(task, name)["networkBindings"].as_array().unwrap();
    let binding = bindings.iter().find(|b| b["containerPort"] == port);
    let binding = binding.unwrap_or_else(|| panic!("{port} is not bound: {bindings:?}"));
    binding["hostPort"].as_u64().unwrap().try_into().unwrap()
}

/// The network namespace of a container that runs.
fn namespace(host: &Host, arn: &str, container: &str) -> OwnedFd {
    let group = format!("/{}/{container}", arn.rsplit('/').next().unwrap());
    let of = |pid: &i32| {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        groups.lines().any(|line| line.ends_with(&group))
    };
    let pid = host.container_pids().into_iter().find(of).unwrap();
    File::open(format!("/proc/{pid}/ns/net")).unwrap().into()
}

fn say(address: &str, port: u16) -> io::Result<String> {
    let address = SocketAddr::new(address.parse::<IpAddr>().unwrap(), port);
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.trim_end().to_owned())
}

/// What a server answers, once it listens.
fn ask(address: &str, port: u16) -> String {
    let mut answer = None;
    wait_for(&format!("an answer of {address} port {port}"), || say(address, port).is_ok());
    answer.get_or_insert_with(|| say(address, port).unwrap()).clone()
}

#[test]
fn bridge_is_the_mode_of_definitions_that_name_none() {
    with_agent(|ground, host, agent| {
        let ports = json!({"portMappings": [
            {"containerPort": 80}, {"containerPort": 80, "hostPort": 8080}, {"containerPort": 5353, "protocol": "udp"},
            {"containerPortRange": "7000-7003"}]});
        let (web, task) = run(&agent, "web", json!([server("web", 80, ports)]));
        let bindings = container(&task, "web")["networkBindings"].as_array().unwrap().clone();
        assert_eq!(bindings.len(), 4, "{task:#}");
        assert!(bindings.iter().all(|b| b["bindIP"] == "0.0.0.0"), "{bindings:?}");
        assert_eq!(container(&task, "web")["networkInterfaces"], json!([]));

        // By every address of the box, from the box, from the outside and from another container.
        let dynamic = bindings.iter().find(|b| b["containerPort"] == 80 && b["hostPort"] != 8080);
        let dynamic: u16 = dynamic.unwrap()["hostPort"].as_u64().unwrap().try_into().unwrap();
        for port in [8080, dynamic] {
            for address in ["127.0.0.1", BOX, BOX6] {
                assert_eq!(ask(address, port), "web");
            }
            // The kernel does not route to or from it; whoever asks `localhost` goes on to the other address.
            assert!(netbox::is_refused(&ground.here, "::1", port));
        }
        assert_eq!(inside(&ground.outside, || ask(BOX, 8080)), "web");
        assert_eq!(inside(&ground.outside, || ask(BOX6, dynamic)), "web");
        let (other, _) = run(&agent, "other", json!([shell("main", "exec sleep 600", json!({}))]));
        let there = namespace(host, &other, "main");
        assert_eq!(inside(&there, || ask(BOX, 8080)), "web");
        assert_eq!(inside(&namespace(host, &web, "web"), || ask(BOX, dynamic)), "web");

        // UDP and the range, with servers of the test in the container's namespace.
        let here = namespace(host, &web, "web");
        let _udp = Server::udp(&here, 5353);
        assert!(
            netbox::udp_from(&ground.here, "127.0.0.1", host_port(&task, "web", 5353))
                .ends_with("to 5353")
        );
        let _last = Server::tcp(&here, 7003);
        let range = bindings.iter().find(|b| b["containerPortRange"] == "7000-7003").unwrap();
        let (first, last) = range["hostPortRange"].as_str().unwrap().split_once('-').unwrap();
        let (first, last): (u16, u16) = (first.parse().unwrap(), last.parse().unwrap());
        assert_eq!(last - first, 3);
        assert!(netbox::tcp_from(&ground.outside, BOX, last).ends_with("to 7003"));

        // What is shown is kept.
        agent.kill();
        let agent = host.start();
        assert_eq!(container(&agent.describe(&web), "web")["networkBindings"], json!(bindings));
        assert_eq!(ask("127.0.0.1", 8080), "web");
        stop(&agent, &web);
        stop(&agent, &other);
    });
}

#[test]
fn a_container_finds_others_by_link_and_what_its_definition_names() {
    with_agent(|_, _, agent| {
        let script = "cat /etc/hosts /etc/resolv.conf; hostname; until nc data 80; do usleep 20000; done; \
            until nc db 80; do usleep 20000; done; echo 192.0.2.9 added >>/etc/hosts && grep -c added /etc/hosts; \
            cat /proc/sys/net/core/somaxconn; exec sleep 600";
        let members = json!({
            "links": ["db:data"], "hostname": "front",
            "extraHosts": [{"hostname": "printer", "ipAddress": "192.0.2.7"}, {"hostname": "box", "ipAddress": "host-gateway"}],
            "dnsServers": ["192.0.2.53"], "dnsSearchDomains": ["lan.example"],
            "systemControls": [{"namespace": "net.core.somaxconn", "value": "77"}]});
        // The one that is linked with stands first, and starts last.
        let containers = json!([shell("app", script, members), server("db", 80, json!({}))]);
        let definition = register(&agent, "linked", json!({"networkMode": "bridge"}), containers);
        let arn = agent.run(&definition);
        let task = agent.wait(&arn, "RUNNING");
        let started = |name: &str| container(&task, name)["startedAt"].clone();
        assert_eq!(started("app"), Value::Null, "ECS does not show it");
        let said = || output(&agent, &arn, "app");
        wait_for("the end of the script", || said().last().is_some_and(|line| line == "77"));
        let lines = said();
        let has = |text: &str| lines.iter().any(|line| line == text);
        for line in
            ["192.0.2.7\tprinter", "nameserver 192.0.2.53", "search lan.example", "front", "1"]
        {
            assert!(has(line), "{line}: {lines:#?}");
        }
        assert_eq!(lines.iter().filter(|line| *line == "db").count(), 2, "{lines:#?}");
        assert!(lines.iter().any(|line| line.ends_with("\tdata db")), "{lines:#?}");
        assert!(lines.iter().any(|line| line.ends_with("\tfront")), "{lines:#?}");
        let gateway = |line: &String| line.starts_with("172.") && line.ends_with(".1\tbox");
        let odd = |line: &String| line.starts_with("172.") && line.ends_with("\tbox");
        assert!(lines.iter().any(|line| gateway(line) || odd(line)), "{lines:#?}");
        stop(&agent, &arn);
    });
}

#[test]
fn a_task_of_awsvpc_mode_has_one_address() {
    with_agent(|ground, _, agent| {
        let mode = json!({"networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512"});
        let ports = json!({"portMappings": [{"containerPort": 80}]});
        let script = "until nc 127.0.0.1 80; do usleep 20000; done; cat /etc/hosts; exec sleep 600";
        let containers =
            json!([server("web", 80, ports.clone()), shell("side", script, json!({}))]);
        let definition = register(&agent, "vpc", mode, containers);

        let without = agent.call("RunTask", &json!({"taskDefinition": definition})).unwrap_err();
        assert_eq!(without.kind, "InvalidParameterException");
        assert_eq!(
            without.message,
            "Network Configuration must be provided when networkMode 'awsvpc' is specified."
        );

        let answer = run_in_vpc(&agent, &definition, "DISABLED");
        let begun = &answer["tasks"][0];
        assert_eq!(begun["attachments"][0]["type"], "ElasticNetworkInterface", "{begun:#}");
        assert_eq!(begun["attachments"][0]["status"], "PRECREATED");
        let arn = begun["taskArn"].as_str().unwrap().to_owned();
        let task = agent.wait(&arn, "RUNNING");
        let attachment = &task["attachments"][0];
        assert_eq!(attachment["status"], "ATTACHED", "{task:#}");
        let detail = |name: &str| {
            let details = attachment["details"].as_array().unwrap();
            let found = details.iter().find(|d| d["name"] == name);
            found.unwrap_or_else(|| panic!("{name}: {details:?}"))["value"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        let address = detail("privateIPv4Address");
        assert_eq!(detail("subnetId"), "subnet-1");
        assert!(detail("networkInterfaceId").starts_with("eni-"));
        assert_eq!(detail("macAddress").len(), 17);
        for name in ["web", "side"] {
            let interface = &container(&task, name)["networkInterfaces"][0];
            assert_eq!(interface["privateIpv4Address"], json!(address), "{task:#}");
            assert_eq!(interface["attachmentId"], attachment["id"]);
            assert_eq!(interface["ipv6Address"], json!(detail("ipv6Address")));
            assert_eq!(container(&task, name)["networkBindings"], json!([]));
        }
        // The box reaches it by its addresses; it is not published.
        assert_eq!(ask(&address, 80), "web");
        assert_eq!(ask(&detail("ipv6Address"), 80), "web");
        assert!(netbox::is_refused(&ground.here, "127.0.0.1", 80));
        // Its containers share localhost, and know the name of their address.
        let name = format!("{address}\tip-{}.internal", address.replace('.', "-"));
        wait_for("the side container", || output(&agent, &arn, "side").contains(&name));
        assert!(output(&agent, &arn, "side").contains(&"web".to_owned()));

        // A task of another definition reaches it as well, and one with a public address is published.
        let script = format!("until nc {address} 80; do usleep 20000; done; exec sleep 600");
        let containers = json!([
            shell("main", &script, json!({})),
            server("open", 8081, json!({"portMappings": [{"containerPort": 8081}]}))
        ]);
        let open = register(&agent, "open", json!({"networkMode": "awsvpc"}), containers);
        let answer = run_in_vpc(&agent, &open, "ENABLED");
        let second = answer["tasks"][0]["taskArn"].as_str().unwrap().to_owned();
        let task = agent.wait(&second, "RUNNING");
        assert_eq!(host_port(&task, "open", 8081), 8081);
        assert_eq!(container(&task, "main")["networkBindings"], json!([]));
        assert_eq!(inside(&ground.outside, || ask(BOX, 8081)), "open");
        wait_for("the other task", || output(&agent, &second, "main") == ["web"]);
        let again = run_in_vpc(&agent, &open, "ENABLED");
        assert_eq!(again["failures"][0]["reason"], "RESOURCE:PORTS", "{again:#}");

        assert_eq!(stop(&agent, &arn)["attachments"][0]["status"], "DELETED");
        stop(&agent, &second);
    });
}

#[test]
fn a_definition_for_fargate_runs_on_the_box() {
    with_agent(|_, _, agent| {
        let mode = json!({"networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512"});
        let definition =
            register(&agent, "fargate", mode, json!([shell("main", "exec sleep 600", json!({}))]));
        let answer = agent.ok("RunTask", &json!({"taskDefinition": definition, "launchType": "FARGATE",
            "platformVersion": "LATEST", "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["s"]}}}));
        let arn = answer["tasks"][0]["taskArn"].as_str().unwrap().to_owned();
        let task = agent.wait(&arn, "RUNNING");
        assert_eq!(
            (&task["launchType"], &task["platformFamily"]),
            (&json!("FARGATE"), &json!("Linux"))
        );
        stop(&agent, &arn);
        let bridge =
            register(&agent, "bridged", json!({}), json!([shell("main", "true", json!({}))]));
        let refused = agent
            .call("RunTask", &json!({"taskDefinition": bridge, "launchType": "FARGATE"}))
            .unwrap_err();
        assert_eq!(refused.message, "Task definition does not support launch_type FARGATE.");
        let configuration = json!({"awsvpcConfiguration": {"subnets": ["s"]}});
        let refused = agent
            .call(
                "RunTask",
                &json!({"taskDefinition": bridge, "networkConfiguration": configuration}),
            )
            .unwrap_err();
        assert_eq!(
            refused.message,
            "Network Configuration is not valid for the given networkMode of this task definition."
        );
    });
}

#[test]
fn without_a_network_there_is_only_the_loopback() {
    with_agent(|_, _, agent| {
        let links = "ip -o link | cut -d: -f2 | tr -d '\\n'; ping -c1 -W5 127.0.0.1 >/dev/null && echo ' up'";
        let off = json!({"disableNetworking": true});
        let containers =
            json!([shell("off", links, off), shell("on", links, json!({"essential": false}))]);
        for (mode, configured) in [("bridge", false), ("awsvpc", true), ("none", false)] {
            let definition =
                register(&agent, mode, json!({"networkMode": mode}), containers.clone());
            let arn = if configured {
                let answer = run_in_vpc(&agent, &definition, "DISABLED");
                answer["tasks"][0]["taskArn"].as_str().unwrap().to_owned()
            } else {
                agent.run(&definition)
            };
            let task = agent.wait(&arn, "STOPPED");
            assert_eq!(output(&agent, &arn, "off"), [" lo up"], "{mode}: {task:#}");
            assert_eq!(container(&task, "off")["networkInterfaces"], json!([]));
        }
    });
}

#[test]
fn host_mode_is_the_network_of_the_box() {
    with_agent(|ground, _, agent| {
        let members = json!({"portMappings": [{"containerPort": 8082}], "dnsServers": ["192.0.2.53"],
            "extraHosts": [{"hostname": "printer", "ipAddress": "192.0.2.7"}]});
        let before = std::fs::read("/etc/hosts").unwrap();
        let script = "echo 192.0.2.9 added >>/etc/hosts; cat /etc/hosts /etc/resolv.conf; exec nc -ll -p 8082 -e echo web";
        let definition = register(
            &agent,
            "hosted",
            json!({"networkMode": "host"}),
            json!([shell("web", script, members)]),
        );
        let arn = agent.run(&definition);
        let task = agent.wait(&arn, "RUNNING");
        assert_eq!(host_port(&task, "web", 8082), 8082);
        assert_eq!(inside(&ground.outside, || ask(BOX, 8082)), "web");
        let lines = output(&agent, &arn, "web");
        for line in ["192.0.2.7\tprinter", "192.0.2.9 added", "nameserver 192.0.2.53"] {
            assert!(lines.iter().any(|l| l == line), "{line}: {lines:#?}");
        }
        assert_eq!(std::fs::read("/etc/hosts").unwrap(), before, "the box's own file is the box's");
        stop(&agent, &arn);
    });
}

#[test]
fn a_port_that_is_taken_is_told() {
    with_agent(|_, _, agent| {
        let fixed = json!({"portMappings": [{"containerPort": 80, "hostPort": 8083}]});
        let definition = register(&agent, "fixed", json!({}), json!([server("web", 80, fixed)]));
        let arn = agent.run(&definition);
        agent.wait(&arn, "RUNNING");
        let answer = agent.ok("RunTask", &json!({"taskDefinition": definition}));
        assert_eq!(answer["failures"][0]["reason"], "RESOURCE:PORTS", "{answer:#}");
        assert!(TcpListener::bind("0.0.0.0:8083").is_err(), "it is kept from others");
        stop(&agent, &arn);

        // Taken by a process that has nothing to do with tasks.
        let other = bound_soon(|| TcpListener::bind("0.0.0.0:8083"));
        let arn = agent.run(&definition);
        let task = agent.wait(&arn, "STOPPED");
        assert_eq!(task["stopCode"], "TaskFailedToStart", "{task:#}");
        let reason = task["stoppedReason"].as_str().unwrap();
        assert!(reason.contains("8083/tcp") && reason.contains("RESOURCE:PORTS"), "{reason}");
        drop(other);
        let arn = agent.run(&definition);
        agent.wait(&arn, "RUNNING");
        assert_eq!(ask("127.0.0.1", 8083), "web");
        stop(&agent, &arn);
    });
}

#[test]
fn twenty_tasks_at_once_each_have_a_port_of_their_own() {
    with_agent(|_, _, agent| {
        let dynamic = json!({"memory": 8, "portMappings": [{"containerPort": 80}]});
        let definition = register(&agent, "many", json!({}), json!([server("web", 80, dynamic)]));
        let mut arns = Vec::new();
        for _ in 0..2 {
            let answer = agent.ok("RunTask", &json!({"taskDefinition": definition, "count": 10}));
            let tasks = answer["tasks"].as_array().unwrap();
            arns.extend(tasks.iter().map(|task| task["taskArn"].as_str().unwrap().to_owned()));
        }
        assert_eq!(arns.len(), 20);
        let mut ports: Vec<u16> =
            arns.iter().map(|arn| host_port(&agent.wait(arn, "RUNNING"), "web", 80)).collect();
        assert!(ports.iter().all(|port| ask("127.0.0.1", *port) == "web"));
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 20);
        for arn in &arns {
            agent.ok("StopTask", &json!({"task": arn}));
        }
        for arn in &arns {
            agent.wait(arn, "STOPPED");
        }
    });
}

#[test]
fn connections_and_rules_outlive_the_agent() {
    with_agent(|ground, _, agent| {
        let host = agent.host;
        let fixed = json!({"portMappings": [{"containerPort": 80, "hostPort": 8084}]});
        let talks = shell("web", "exec nc -ll -p 80 -e cat", fixed);
        let (arn, _) = run(&agent, "echo", json!([talks]));
        wait_for("the server", || {
            inside(&ground.outside, || TcpStream::connect((BOX, 8084))).is_ok()
        });
        let mut open = inside(&ground.outside, || TcpStream::connect((BOX, 8084))).unwrap();
        open.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut echo = |text: &str| {
            open.write_all(text.as_bytes()).unwrap();
            let mut back = vec![0; text.len()];
            open.read_exact(&mut back).unwrap();
            assert_eq!(back, text.as_bytes());
        };
        echo("before");
        agent.kill();
        echo("without an agent");
        inside(&ground.outside, || TcpStream::connect((BOX, 8084))).unwrap();
        let agent = host.start();
        let second = register(
            &agent,
            "second",
            json!({}),
            json!([shell("main", "exec sleep 600", json!({}))]),
        );
        let second = agent.run(&second);
        agent.wait(&second, "RUNNING");
        echo("with the next agent");
        inside(&ground.outside, || TcpStream::connect((BOX, 8084))).unwrap();
        // It is still kept from others.
        let answer = agent.ok("RunTask", &json!({"taskDefinition": "echo"}));
        assert_eq!(answer["failures"][0]["reason"], "RESOURCE:PORTS", "{answer:#}");
        stop(&agent, &arn);
        stop(&agent, &second);
    });
}

#[test]
fn after_a_power_cut_the_network_is_made_again() {
    with_agent(|ground, host, agent| {
        let fixed = json!({"portMappings": [{"containerPort": 80, "hostPort": 8085}]});
        let (bridged, _) = run(&agent, "bridged", json!([server("web", 80, fixed)]));
        let definition = register(
            &agent,
            "vpc",
            json!({"networkMode": "awsvpc"}),
            json!([server("web", 80, json!({}))]),
        );
        let answer = run_in_vpc(&agent, &definition, "DISABLED");
        let vpc = answer["tasks"][0]["taskArn"].as_str().unwrap().to_owned();
        agent.wait(&vpc, "RUNNING");
        agent.kill();
        host.cut_the_power();
        // Nothing of the network outlives a reboot.
        netbox::output("nft", &["flush", "ruleset"]);
        netbox::ip(&format!("link del {}", host.bridge()));
        for path in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            std::fs::write(format!("/proc/sys/net/{path}"), "0").unwrap();
        }
        let agent = host.start();
        agent.wait(&bridged, "RUNNING");
        let task = agent.wait(&vpc, "RUNNING");
        assert_eq!(inside(&ground.outside, || ask(BOX, 8085)), "web");
        let address = &container(&task, "web")["networkInterfaces"][0]["privateIpv4Address"];
        assert_eq!(ask(address.as_str().unwrap(), 80), "web");
        stop(&agent, &bridged);
        stop(&agent, &vpc);
    });
}

#[test]
fn an_agent_killed_in_the_middle_leaves_nothing_behind() {
    with_agent(|_, host, mut agent| {
        let dynamic = json!({"memory": 8, "portMappings": [{"containerPort": 80}]});
        let definition = register(&agent, "cut", json!({}), json!([server("web", 80, dynamic)]));
        for round in 0_u64..12 {
            // The answer may or may not come; the agent is killed soon after it was asked.
            let request = json!({"taskDefinition": definition, "count": 3}).to_string();
            let mut stream =
                std::os::unix::net::UnixStream::connect(host.run_dir().join("api.sock")).unwrap();
            let head = format!(
                "POST / HTTP/1.0\r\nHost: coracle\r\nContent-Type: application/x-amz-json-1.1\r\n\
                 X-Amz-Target: AmazonEC2ContainerServiceV20141113.RunTask\r\nContent-Length: {}\r\n\r\n",
                request.len()
            );
            stream.write_all((head + &request).as_bytes()).unwrap();
            // Not awaited: where the kill falls is what differs from round to round.
            std::thread::sleep(std::time::Duration::from_millis(7 * round));
            agent.kill();
            agent = host.start();
            let running = agent.ok("ListTasks", &json!({}));
            for arn in running["taskArns"].as_array().unwrap() {
                let arn = arn.as_str().unwrap();
                agent.wait(arn, "RUNNING");
                assert_eq!(ask("127.0.0.1", host_port(&agent.describe(arn), "web", 80)), "web");
                stop(&agent, arn);
            }
        }
        agent.terminate();
    });
}

#[test]
fn a_run_in_the_foreground_has_a_network_too() {
    let machine: OwnedFd = File::open("/proc/thread-self/ns/net").unwrap().into();
    on_a_box(async move |ground| {
        let host = Host::new();
        let agent = host.start();
        inside(&machine, || host.load_busybox(&agent));
        agent.terminate();
        let container = shell(
            "main",
            "ip -o -4 addr show eth0 | grep -c inet; nc -w 5 127.0.0.1 1 || echo refused",
            json!({}),
        );
        let file = host.dir.path().join("fore.json");
        std::fs::write(
            &file,
            json!({"family": "fore", "containerDefinitions": [container]}).to_string(),
        )
        .unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_coracle"))
            .args(["run", file.to_str().unwrap()])
            .env("CORACLE_STATE_DIR", host.state_dir())
            .env("CORACLE_RUN_DIR", host.run_dir())
            .env("CORACLE_CGROUP_PARENT", &host.cgroup_parent)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains('1') && text.contains("refused"), "{text}");
        ground.settle();
    });
}
