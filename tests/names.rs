//! Names in real containers: they find services and tasks by name, other names are asked of the box's own server, and it
//! all goes on through a restart of the agent.

#![allow(clippy::unwrap_used, reason = "a test ends when something cannot be read or run")]
#![allow(clippy::needless_pass_by_value, reason = "definitions are written in place")]

mod agent;
mod netbox;

use agent::{Agent, Host, PATIENCE, wait_for};
use netbox::{BOX, Ground, OUTSIDE, Server, inside, on_a_box, output, tcp_from, udp_from};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;

const A: u16 = 1;
const PTR: u16 = 12;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const SRV: u16 = 33;

/// Runs `test` on a box of its own, with the settings `text` for its agents; at the end the box must be as before.
fn on_a_host(
    test: impl for<'h> FnOnce(&Ground, &'h Host, &dyn Fn() -> Agent<'h>) + Send + 'static,
) {
    let machine: OwnedFd = File::open("/proc/thread-self/ns/net").unwrap().into();
    on_a_box(async move |ground| {
        let host = Host::new();
        let config = host.dir.path().join("agent.toml");
        let server = BoxServer::start();
        std::fs::write(&config, format!("dns_servers = ['{}']\n", server.address)).unwrap();
        let start = || host.start_with(&["--config", config.to_str().unwrap()]);
        let agent = start();
        // The image is made of packages, which are not to be had on this box.
        inside(&machine, || host.load_busybox(&agent));
        agent.terminate();
        test(&ground, &host, &start);
        ground.settle();
    });
}

/// The name server of the box: it has `192.0.2.77` for every name, but only over TCP for those that begin with `large`.
struct BoxServer {
    address: SocketAddr,
}

impl BoxServer {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let listener = TcpListener::bind(address).unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 600];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let large = buffer[13..].starts_with(b"large");
                let _ = socket.send_to(&Self::answer(&buffer[..length], large), from);
            }
        });
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                while let Some(query) = read_whole(&mut stream) {
                    write_whole(&mut stream, &Self::answer(&query, false));
                }
            }
        });
        Self { address }
    }

    fn answer(query: &[u8], truncated: bool) -> Vec<u8> {
        let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
        let mut answer = query[..end].to_vec();
        answer[2] = 0x81 | if truncated { 2 } else { 0 };
        answer[3] = 0x80;
        answer[7] = u8::from(!truncated);
        answer[11] = 0;
        if !truncated {
            answer.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x4d");
        }
        answer
    }
}

fn read_whole(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

fn write_whole(stream: &mut TcpStream, message: &[u8]) {
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], message].concat()).unwrap();
}

/// An answer, as far as a test looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    code: u8,
    truncated: bool,
    /// The data of the answers: addresses as text, ports with the name of their host, names.
    records: Vec<String>,
}

fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    message
}

impl Answer {
    fn read(message: &[u8]) -> Self {
        let number = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
        let mut at = 12 + message[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
        let mut records = Vec::new();
        for _ in 0..number(6) {
            assert_eq!(message[at], 0xc0, "answers have the name that was asked for");
            let (kind, length) = (number(at + 2), usize::from(number(at + 10)));
            let data = &message[at + 12..at + 12 + length];
            records.push(match kind {
                A => Ipv4Addr::from(<[u8; 4]>::try_from(data).unwrap()).to_string(),
                AAAA => std::net::Ipv6Addr::from(<[u8; 16]>::try_from(data).unwrap()).to_string(),
                SRV => format!("{} {}", u16::from_be_bytes([data[4], data[5]]), name(&data[6..])),
                PTR => name(data),
                other => panic!("type {other}"),
            });
            at += 12 + length;
        }
        Self { code: message[3] & 15, truncated: message[2] & 2 != 0, records }
    }
}

fn name(mut data: &[u8]) -> String {
    let mut labels = Vec::new();
    while let [length, rest @ ..] = data
        && *length != 0
    {
        let (label, rest) = rest.split_at(usize::from(*length));
        labels.push(String::from_utf8(label.to_vec()).unwrap());
        data = rest;
    }
    labels.join(".")
}

/// Asks the name server of the containers from one of them.
struct Asker {
    namespace: OwnedFd,
    server: IpAddr,
}

impl Asker {
    fn ask(&self, name: &str, kind: u16) -> Answer {
        let any = if self.server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = inside(&self.namespace, || UdpSocket::bind(any).unwrap());
        socket.connect((self.server, 53)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send(&query(name, kind)).unwrap();
        let mut buffer = [0; 2000];
        let length = socket.recv(&mut buffer).unwrap();
        Answer::read(&buffer[..length])
    }

    fn over_tcp(&self, name: &str, kind: u16) -> Answer {
        let server = (self.server, 53);
        let mut stream = inside(&self.namespace, || TcpStream::connect(server).unwrap());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write_whole(&mut stream, &query(name, kind));
        Answer::read(&read_whole(&mut stream).unwrap())
    }

    fn records(&self, name: &str, kind: u16) -> Vec<String> {
        let answer = self.ask(name, kind);
        assert_eq!(answer.code, 0, "{name}: {answer:?}");
        answer.records
    }

    fn code(&self, name: &str, kind: u16) -> u8 {
        self.ask(name, kind).code
    }
}

fn shell(name: &str, script: &str, members: Value) -> Value {
    let mut container = json!({"name": name, "image": "coracle/busybox", "memory": 16, "stopTimeout": 1,
        "command": ["sh", "-c", script]});
    container.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    container
}

/// A web server that says its name.
fn web(name: &str, members: Value) -> Value {
    let script = format!("mkdir /www; echo {name} > /www/index.html; exec httpd -f -p 80 -h /www");
    let mut named = json!({"portMappings": [{"containerPort": 80, "name": "http"}]});
    named.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    shell(name, &script, named)
}

fn register(agent: &Agent<'_>, family: &str, mode: &str, containers: Value) -> String {
    let input = json!({"family": family, "networkMode": mode, "containerDefinitions": containers});
    let answer = agent.ok("RegisterTaskDefinition", &input);
    format!("{family}:{}", answer["taskDefinition"]["revision"])
}

fn network() -> Value {
    json!({"awsvpcConfiguration": {"subnets": ["subnet-1"]}})
}

/// Runs a task and waits until it runs; gives its ARN and its id.
fn run(agent: &Agent<'_>, family: &str, mode: &str, containers: Value) -> (String, String) {
    let mut input = json!({"taskDefinition": register(agent, family, mode, containers)});
    if mode == "awsvpc" {
        input["networkConfiguration"] = network();
    }
    let answer = agent.ok("RunTask", &input);
    let arn = answer["tasks"][0]["taskArn"].as_str().unwrap_or_else(|| panic!("{answer}"));
    agent.wait(arn, "RUNNING");
    (arn.to_owned(), arn.rsplit('/').next().unwrap().to_owned())
}

fn stop(agent: &Agent<'_>, arn: &str) {
    agent.ok("StopTask", &json!({"task": arn}));
    agent.wait(arn, "STOPPED");
}

/// What a command in a container that runs prints.
fn exec(host: &Host, arn: &str, script: &str) -> String {
    // What the host adds to the command line is for the shell to ignore.
    host.cli(&[
        "exec",
        "--run-dir",
        host.run_dir().to_str().unwrap(),
        arn,
        "--",
        "sh",
        "-c",
        script,
    ])
}

/// An asker in a container of `arn`.
fn asker(host: &Host, arn: &str, container: &str) -> Asker {
    let group = format!("/{}/{container}", arn.rsplit('/').next().unwrap());
    let of = |pid: &i32| {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        groups.lines().any(|line| line.ends_with(&group))
    };
    let pid = host.container_pids().into_iter().find(of).unwrap();
    let namespace = File::open(format!("/proc/{pid}/ns/net")).unwrap().into();
    let text = std::fs::read_to_string(format!("/proc/{pid}/root/etc/resolv.conf")).unwrap();
    let server = text.lines().next().unwrap().strip_prefix("nameserver ").unwrap();
    Asker { namespace, server: server.parse().unwrap() }
}

/// The box's IPv6 address on the bridge, where there is IPv6.
fn gateway6(namespace: &OwnedFd) -> Option<IpAddr> {
    let route = inside(namespace, || output("ip", &["-6", "route", "show", "default"]));
    route.split_whitespace().skip_while(|word| *word != "via").nth(1)?.parse().ok()
}

const WAIT: &str = "while :; do sleep 1000; done";

#[test]
fn tasks_find_each_other_by_name_and_others_through_the_box() {
    on_a_host(|_, host, start| {
        let agent = start();
        let (front, front_id) = run(&agent, "front", "awsvpc", json!([web("web", json!({}))]));
        let (back, back_id) = run(
            &agent,
            "Back",
            "bridge",
            json!([web("web", json!({})), shell("side", WAIT, json!({}))]),
        );
        let (client, _) = run(&agent, "client", "bridge", json!([shell("main", WAIT, json!({}))]));

        // As programs find names.
        let told = exec(host, &client, "cat /etc/resolv.conf");
        let gateway = told.lines().next().unwrap().strip_prefix("nameserver ").unwrap();
        assert!(told.lines().nth(1).unwrap().starts_with("search default.internal"), "{told}");
        assert_eq!(told.matches("nameserver").count(), 1, "{told}");
        for name in
            ["front", "front.default.internal", "back", &format!("{back_id}.default.internal")]
        {
            let said = exec(host, &client, &format!("wget -q -O - http://{name}/"));
            assert_eq!(said, "web\n", "{name}");
        }
        let said = exec(host, &client, "nslookup front.default.internal");
        assert!(said.contains(gateway) && said.contains("front.default.internal"), "{said}");

        // Message by message.
        let ask = asker(host, &client, "main");
        let task = agent.describe(&front);
        let address =
            task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"].as_str().unwrap();
        let name = format!("{front_id}.default.internal");
        assert_eq!(ask.records("front.default.internal", A), [address]);
        assert_eq!(ask.records(&name.to_uppercase(), A), [address]);
        assert_eq!(ask.over_tcp("front.default.internal", A).records, [address]);
        assert_eq!(ask.records("FRONT.default.internal", SRV), [format!("80 {name}")]);
        assert_eq!(ask.records("_http._tcp.front.default.internal", SRV), [format!("80 {name}")]);
        assert_eq!(ask.records("_admin._tcp.front.default.internal", SRV), [""; 0]);
        let web = format!("web.{back_id}.default.internal");
        assert_eq!(ask.records("back.default.internal", SRV), [format!("80 {web}")]);
        assert_eq!(ask.records(&web, A), ask.records("back.default.internal", A));
        let side = ask.records(&format!("side.{back_id}.default.internal"), A);
        assert_ne!(side, ask.records("back.default.internal", A));
        let octets: Vec<_> = address.split('.').rev().collect();
        assert_eq!(ask.records(&format!("{}.in-addr.arpa", octets.join(".")), PTR), [name]);
        let private = format!("ip-{}.internal", address.replace('.', "-"));
        assert_eq!(ask.records(&private, A), [address]);
        let ipv6 = ask.records("front.default.internal", AAAA);
        assert_eq!(ipv6.len(), usize::from(std::path::Path::new("/proc/net/if_inet6").exists()));
        if let Some(server) = gateway6(&ask.namespace) {
            let over_ipv6 = Asker { namespace: ask.namespace.try_clone().unwrap(), server };
            assert_eq!(over_ipv6.records("front.default.internal", AAAA), ipv6);
            assert_eq!(over_ipv6.over_tcp("front.default.internal", AAAA).records, ipv6);
        }
        assert_eq!(ask.records("front.default.internal", TXT), [""; 0]);
        assert_eq!(ask.records("default.internal", A), [""; 0]);
        for (name, kind, code) in [
            ("nobody.default.internal", A, 3),
            ("x.front.default.internal", A, 3),
            ("front.default.internal", 255, 5),
        ] {
            assert_eq!(ask.code(name, kind), code, "{name}");
        }

        // Others are asked of the box's own server, and over TCP what it has more of.
        assert_eq!(ask.records("example.com", A), ["192.0.2.77"]);
        assert_eq!(ask.records("front.other.internal", A), ["192.0.2.77"]);
        assert!(ask.ask("large.example.com", A).truncated);
        assert_eq!(ask.over_tcp("large.example.com", A).records, ["192.0.2.77"]);
        let said = exec(host, &client, "nslookup www.example.com");
        assert!(said.contains("192.0.2.77"), "{said}");

        // Who has gone has no name. Others keep theirs, through a restart of the agent.
        stop(&agent, &back);
        assert_eq!(ask.code("back.default.internal", A), 3);
        agent.kill();
        let agent = start();
        agent.wait(&client, "RUNNING");
        wait_for("names to be served again", || {
            exec_works(host, &client, "wget -q -O - http://front/")
        });
        assert_eq!(ask.records("front.default.internal", A), [address]);
        assert_eq!(ask.records("example.com", A), ["192.0.2.77"]);
        stop(&agent, &front);
        stop(&agent, &client);
    });
}

/// Whether a command in a container ends well.
fn exec_works(host: &Host, arn: &str, script: &str) -> bool {
    exec(host, arn, &format!("{script} > /dev/null 2>&1 && echo yes || echo no")) == "yes\n"
}

#[test]
fn a_task_on_the_boxs_own_network_is_where_the_box_is() {
    on_a_host(|_, host, start| {
        let agent = start();
        let mapping = json!({"portMappings": [{"containerPort": 8099, "name": "http"}]});
        let script = "mkdir /www; echo own > /www/index.html; exec httpd -f -p 8099 -h /www";
        let (own, own_id) = run(&agent, "own", "host", json!([shell("web", script, mapping)]));
        let (client, _) = run(&agent, "client", "awsvpc", json!([shell("main", WAIT, json!({}))]));
        let ask = asker(host, &client, "main");
        assert_eq!(ask.records("own.default.internal", A), [ask.server.to_string()]);
        assert_eq!(
            ask.records("own.default.internal", SRV),
            [format!("8099 {own_id}.default.internal")]
        );
        wait_for("the web server", || exec_works(host, &client, "wget -q -O - http://own:8099/"));
        // It finds names as the box does.
        let of_box = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let told = exec(host, &own, "cat /etc/resolv.conf");
        assert!(!told.contains(&ask.server.to_string()), "{told} for {of_box}");
        stop(&agent, &own);
        stop(&agent, &client);
    });
}

#[test]
fn a_task_may_have_the_boxs_port_for_names() {
    on_a_host(|ground, host, start| {
        let agent = start();
        let ports = json!({"portMappings": [
            {"containerPort": 53, "hostPort": 53, "protocol": "udp"}, {"containerPort": 53, "hostPort": 53}]});
        let containers = json!([shell("main", WAIT, ports)]);
        let (mine, _) = run(&agent, "mine", "bridge", containers);
        let (client, _) = run(&agent, "client", "bridge", json!([shell("main", WAIT, json!({}))]));
        // What the task serves there.
        let here = asker(host, &mine, "main");
        let _udp = Server::udp(&here.namespace, 53);
        let _tcp = Server::tcp(&here.namespace, 53);
        let ask = asker(host, &client, "main");
        for ask in [&ask, &here] {
            assert_eq!(ask.records("mine.default.internal", A).len(), 1);
            assert_eq!(ask.over_tcp("mine.default.internal", A).records.len(), 1);
        }
        // From the outside, port 53 of the box is the task's; so it is for containers that ask the box by that address.
        assert_eq!(udp_from(&ground.outside, BOX, 53), format!("{OUTSIDE} to 53"));
        assert_eq!(tcp_from(&ground.outside, BOX, 53), format!("{OUTSIDE} to 53"));
        assert!(tcp_from(&ask.namespace, BOX, 53).ends_with(" to 53"));
        stop(&agent, &mine);
        stop(&agent, &client);
    });
}

#[test]
fn a_definition_may_name_other_servers_and_the_settings_none() {
    on_a_host(|_, host, start| {
        let agent = start();
        let own = json!({"dnsServers": ["192.0.2.53"], "dnsSearchDomains": ["own.example"]});
        let search = json!({"dnsSearchDomains": ["search.example"]});
        let containers = json!([shell("own", WAIT, own), shell("search", WAIT, search)]);
        let (arn, _) = run(&agent, "own", "bridge", containers);
        let told = |arn: &str, container: &str| {
            let script = "cat /etc/resolv.conf";
            let run_dir = host.run_dir();
            let run_dir = run_dir.to_str().unwrap();
            host.cli(&[
                "exec",
                "--run-dir",
                run_dir,
                "--container",
                container,
                arn,
                "--",
                "sh",
                "-c",
                script,
            ])
        };
        assert!(told(&arn, "own").starts_with("nameserver 192.0.2.53\nsearch own.example\n"));
        let served = told(&arn, "search");
        assert!(
            served.contains("\nsearch search.example\n") && !served.contains("192.0.2"),
            "{served}"
        );
        stop(&agent, &arn);
        agent.terminate();

        let config = host.dir.path().join("agent.toml");
        std::fs::write(&config, "dns = false\n").unwrap();
        let agent = start();
        let (arn, _) = run(&agent, "plain", "bridge", json!([shell("plain", WAIT, json!({}))]));
        let told = told(&arn, "plain");
        assert!(!told.contains("default.internal"), "{told}");
        stop(&agent, &arn);
    });
}

/// Waits until a service is as its waiter `ServicesStable` has it.
fn until_stable(agent: &Agent<'_>, name: &str) {
    wait_for(&format!("{name} to be stable"), || {
        let answer = agent.ok("DescribeServices", &json!({"services": [name]}));
        let service = &answer["services"][0];
        let stable = service["runningCount"] == service["desiredCount"]
            && service["deployments"].as_array().unwrap().len() == 1;
        if !stable {
            // A service cannot be awaited; asking without a pause would take the time that it needs.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        stable
    });
}

#[test]
fn services_have_names_and_those_of_service_connect_and_registries() {
    on_a_host(|_, host, start| {
        let agent = start();
        let definition = register(&agent, "shop", "awsvpc", json!([web("web", json!({}))]));
        let create = |name: &str, definition: &str, count: u32, members: Value| {
            let mut input = json!({
                "serviceName": name, "taskDefinition": definition, "desiredCount": count,
            });
            input.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            agent.call("CreateService", &input)
        };
        let connect = |port: u16| {
            let alias = json!({"port": port, "dnsName": "storefront"});
            json!({"enabled": true, "namespace": "market", "services": [
                {"portName": "http", "discoveryName": "shop-http", "clientAliases": [alias]}]})
        };
        let registry = json!([{"registryArn": "arn:aws:servicediscovery:local:000000000000:service/srv-shop"}]);
        let members = |port| {
            json!({"networkConfiguration": network(), "serviceConnectConfiguration": connect(port),
                "serviceRegistries": registry})
        };
        let refused = create("shop", &definition, 2, members(8080)).unwrap_err();
        assert_eq!(refused.kind, "InvalidParameterException");
        assert!(
            refused.message.contains("8080") && refused.message.contains("proxy"),
            "{refused:?}"
        );
        create("shop", &definition, 2, members(80)).unwrap();
        until_stable(&agent, "shop");
        let plain = register(&agent, "client", "bridge", json!([shell("main", WAIT, json!({}))]));
        create("client", &plain, 1, json!({})).unwrap();
        until_stable(&agent, "client");

        let tasks = |service: &str| -> Vec<String> {
            let answer = agent.ok("ListTasks", &json!({"serviceName": service}));
            let arns = answer["taskArns"].as_array().unwrap();
            arns.iter().map(|arn| arn.as_str().unwrap().to_owned()).collect()
        };
        let addresses = |arns: &[String]| -> Vec<String> {
            let answer = agent.ok("DescribeTasks", &json!({"tasks": arns}));
            let of = |task: &Value| {
                let interface = &task["containers"][0]["networkInterfaces"][0];
                interface["privateIpv4Address"].as_str().unwrap().to_owned()
            };
            let mut addresses: Vec<_> =
                answer["tasks"].as_array().unwrap().iter().map(of).collect();
            addresses.sort_unstable();
            addresses
        };
        let client = &tasks("client")[0];
        let ask = asker(host, client, "main");
        let expected = addresses(&tasks("shop"));
        assert_eq!(expected.len(), 2);
        for name in [
            "shop.default.internal",
            "shop-http.market",
            "storefront",
            "storefront.market",
            "srv-shop.default.internal",
            "shop-http.default.internal",
        ] {
            let mut records = ask.records(name, A);
            records.sort_unstable();
            assert_eq!(records, expected, "{name}");
        }
        let firsts = [0, 1].map(|_| ask.records("shop.default.internal", A)[0].clone());
        assert_ne!(firsts[0], firsts[1], "each answer begins with another");
        assert_eq!(ask.records("shop.default.internal", SRV).len(), 2);
        for name in ["shop", "storefront", "srv-shop", "shop-http.market"] {
            let said = exec(host, client, &format!("wget -q -O - http://{name}/"));
            assert_eq!(said, "web\n", "{name}");
        }

        // One task is stopped: its address is gone from the answer at once, and another comes.
        let stopped = tasks("shop")[0].clone();
        let address = addresses(std::slice::from_ref(&stopped)).remove(0);
        agent.ok("StopTask", &json!({"task": stopped}));
        assert!(!ask.records("shop.default.internal", A).contains(&address));
        wait_for("another task", || ask.records("shop.default.internal", A).len() == 2);

        // Without tasks there is the name all the same; without the service there is not.
        agent.ok("UpdateService", &json!({"service": "shop", "desiredCount": 0}));
        until_stable(&agent, "shop");
        assert_eq!(ask.records("shop.default.internal", A), [""; 0]);
        assert_eq!(ask.records("storefront", A), [""; 0]);
        agent.ok("DeleteService", &json!({"service": "shop"}));
        wait_for("the service to be gone", || ask.code("shop.default.internal", A) == 3);
        // Nobody has it now, so the box's own server is asked.
        assert_eq!(ask.records("storefront", A), ["192.0.2.77"]);
        agent.ok("DeleteService", &json!({"service": "client", "force": true}));
        agent.wait(client, "STOPPED");
    });
}
