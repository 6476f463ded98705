//! The endpoints that containers are told of: metadata, statistics, credentials, protection; and the agent's
//! introspection. Asked from real containers, and by the box.

#![allow(clippy::unwrap_used, reason = "a test ends when something cannot be read or run")]
#![allow(clippy::needless_pass_by_value, reason = "definitions are written in place")]

mod agent;

use agent::{Agent, Host};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

const ROLE: &str = "arn:aws:iam::123456789012:role/reader";
const BROKEN_ROLE: &str = "arn:aws:iam::123456789012:role/broken";
const CANARY: &str = "c4n4ryS3cr3t/+";

/// A box whose settings have two roles.
fn host() -> (Host, PathBuf) {
    let host = Host::new();
    let credentials = host.dir.path().join("credentials");
    let text = format!(
        "[reader]\naws_access_key_id = AKREADER\naws_secret_access_key = {CANARY}\naws_session_token = tok\n"
    );
    std::fs::write(&credentials, text).unwrap();
    let config = host.dir.path().join("agent.toml");
    let text = format!(
        "[roles.'{ROLE}']\ncredentials_file = '{}'\nprofile = 'reader'\n\
         [roles.'{BROKEN_ROLE}']\ncommand = ['/bin/sh', '-c', 'echo {CANARY}; exit 3']\n",
        credentials.display()
    );
    std::fs::write(&config, text).unwrap();
    (host, config)
}

/// As [`host`], with the test image in its store already: a box without the world cannot make it.
fn provisioned() -> (Host, PathBuf) {
    let (host, config) = host();
    let agent = start(&host, &config);
    host.load_busybox(&agent);
    agent.terminate();
    (host, config)
}

fn start<'a>(host: &'a Host, config: &Path) -> Agent<'a> {
    host.start_with(&["--config", config.to_str().unwrap()])
}

fn register(
    agent: &Agent<'_>,
    family: &str,
    mode: &str,
    role: Option<&str>,
    script: &str,
) -> String {
    let container = json!({
        "name": "app", "image": "coracle/busybox", "memory": 32, "cpu": 64, "stopTimeout": 2,
        "command": ["sh", "-c", script],
        "dockerLabels": {"team": "shore"},
        "environment": [{"name": "ECS_AGENT_URI", "value": "mine"}],
    });
    let mut input = json!({
        "family": family, "networkMode": mode, "containerDefinitions": [container],
    });
    if let Some(role) = role {
        input["taskRoleArn"] = json!(role);
    }
    let answer = agent.ok("RegisterTaskDefinition", &input);
    format!("{family}:{}", answer["taskDefinition"]["revision"])
}

/// Runs a task that tells its variables and waits; gives its ARN and what it told.
fn waiting(
    agent: &Agent<'_>,
    family: &str,
    mode: &str,
    role: Option<&str>,
) -> (String, BTreeMap<String, String>) {
    let script = "env; echo told; while :; do sleep 1000; done";
    let arn = run(agent, &register(agent, family, mode, role, script), mode, json!([]));
    agent.wait(&arn, "RUNNING");
    let id = arn.rsplit('/').next().unwrap();
    let told = agent
        .lines(&format!("/coracle/v1/logs?task={id}&follow=true"))
        .map(|line| line["log"].as_str().unwrap().trim_end().to_owned())
        .take_while(|line| line != "told")
        .filter_map(|line| line.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned())));
    let told = told.collect();
    (arn, told)
}

fn run(agent: &Agent<'_>, definition: &str, mode: &str, environment: Value) -> String {
    let mut input = json!({
        "taskDefinition": definition,
        "overrides": {"containerOverrides": [{"name": "app", "environment": environment}]},
    });
    if mode == "awsvpc" {
        input["networkConfiguration"] = json!({"awsvpcConfiguration": {"subnets": ["subnet-1"]}});
    }
    let answer = agent.ok("RunTask", &input);
    answer["tasks"][0]["taskArn"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// An answer: status and body.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.any_json()
    }

    fn any_json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// Sends `request`, whose head ends with an empty line, to `address`.
fn exchange(address: &str, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(agent::PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_default();
    Answer { status, body: body.to_owned() }
}

fn get(uri: &str) -> Answer {
    ask("GET", uri, "")
}

fn ask(method: &str, uri: &str, body: &str) -> Answer {
    let (address, path) = uri.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let length = body.len();
    let head =
        format!("{method} /{path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n");
    exchange(address, &(head + body))
}

#[test]
fn a_task_in_host_mode_asks_on_the_loopback() {
    let (host, config) = host();
    let agent = start(&host, &config);
    host.load_busybox(&agent);
    let (arn, told) = waiting(&agent, "loop", "host", Some(ROLE));

    let uri = &told["ECS_CONTAINER_METADATA_URI_V4"];
    assert!(uri.starts_with("http://127.0.0.1:"), "{uri}");
    assert_eq!(told["AWS_EXECUTION_ENV"], "AWS_ECS_EC2");
    assert!(told["ECS_AGENT_URI"].starts_with("http://127.0.0.1:"), "the agent's wins: {told:?}");
    assert!(!told.contains_key("AWS_REGION"), "no region is set: {told:?}");

    let container = get(uri).json();
    let described = agent.describe(&arn);
    let shown = &described["containers"][0];
    assert_eq!(container["DockerId"], shown["runtimeId"]);
    assert_eq!(container["ContainerARN"], shown["containerArn"]);
    assert_eq!(container["Name"], "app");
    assert_eq!(container["Image"], "coracle/busybox");
    assert_eq!(container["ImageID"], shown["imageDigest"]);
    assert_eq!(container["DesiredStatus"], "RUNNING");
    assert_eq!(container["KnownStatus"], "RUNNING");
    assert_eq!(container["Type"], "NORMAL");
    assert_eq!(container["Limits"], json!({"CPU": 64, "Memory": 32}));
    assert_eq!(container["LogDriver"], "json-file");
    assert_eq!(container["Labels"]["team"], "shore");
    assert_eq!(container["Labels"]["com.amazonaws.ecs.task-arn"], json!(arn));
    assert_eq!(container["Labels"]["com.amazonaws.ecs.task-definition-family"], "loop");
    assert_eq!(container["Labels"]["com.amazonaws.ecs.container-name"], "app");
    assert_eq!(container["Networks"], json!([{"NetworkMode": "host"}]));
    assert!(container["StartedAt"].as_str().unwrap().ends_with('Z'));

    let task = get(&format!("{uri}/task")).json();
    assert_eq!(task["TaskARN"], json!(arn));
    assert_eq!(task["Cluster"], "default");
    assert_eq!((&task["Family"], &task["Revision"]), (&json!("loop"), &json!("1")));
    assert_eq!(task["KnownStatus"], "RUNNING");
    assert_eq!(task["LaunchType"], "EC2");
    assert_eq!(task["Containers"], json!([container]));
    assert!(task.get("TaskTags").is_none());
    let tags = json!({"resourceArn": arn, "tags": [{"key": "port", "value": "north"}]});
    agent.ok("TagResource", &tags);
    let tagged = get(&format!("{uri}/taskWithTags")).json();
    assert_eq!(tagged["TaskTags"], json!({"port": "north"}));

    let id = container["DockerId"].as_str().unwrap();
    let stats = get(&format!("{uri}/stats")).json();
    assert_eq!(stats["id"], id);
    assert!(stats["memory_stats"]["usage"].as_u64().unwrap() > 0, "{stats}");
    let of_task = get(&format!("{uri}/task/stats")).json();
    assert_eq!(of_task[id]["preread"], stats["read"], "the reading before is the first one");

    let three = get(&told["ECS_CONTAINER_METADATA_URI"]).json();
    assert_eq!(three["DockerId"], id);
    assert!(three.get("ContainerARN").is_none());

    let credentials = get(&told["AWS_CONTAINER_CREDENTIALS_FULL_URI"]).json();
    assert_eq!(credentials["RoleArn"], ROLE);
    assert_eq!(credentials["AccessKeyId"], "AKREADER");
    assert_eq!(credentials["SecretAccessKey"], CANARY);
    assert_eq!(credentials["Token"], "tok");
    assert!(credentials["Expiration"].as_str().unwrap().ends_with('Z'));
    assert!(!told.contains_key("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"));

    // The same addresses go on working when the agent is killed and started again.
    agent.kill();
    let agent = start(&host, &config);
    agent.wait(&arn, "RUNNING");
    assert_eq!(get(uri).json()["DockerId"], id);
    assert_eq!(get(&told["AWS_CONTAINER_CREDENTIALS_FULL_URI"]).json()["Token"], "tok");

    // And end with the task.
    agent.ok("StopTask", &json!({"task": arn}));
    agent.wait(&arn, "STOPPED");
    assert_eq!(get(uri).status, 404);
    assert_eq!(get(&told["AWS_CONTAINER_CREDENTIALS_FULL_URI"]).status, 400);
    assert!(!host.log().contains(CANARY));
}

#[test]
fn what_is_no_good_id_is_told_like_one_that_does_not_exist() {
    let (host, config) = host();
    let agent = start(&host, &config);
    host.load_busybox(&agent);
    let (_, told) = waiting(&agent, "mine", "host", None);
    let (_, other) = waiting(&agent, "other", "host", Some(ROLE));
    let uri = &told["ECS_CONTAINER_METADATA_URI_V4"];
    let (base, id) = uri.rsplit_once("/v4/").unwrap();

    let (task, tag) = id.rsplit_once('-').unwrap();
    let (other_task, _) = other["ECS_CONTAINER_METADATA_URI_V4"]
        .rsplit_once('/')
        .unwrap()
        .1
        .rsplit_once('-')
        .unwrap();
    let zeros = "0".repeat(32);
    let no_ids = [
        format!("{task}-{zeros}"),
        format!("{other_task}-{tag}"),
        format!("{zeros}-{tag}"),
        task.to_owned(),
        "..".to_owned(),
        "%2e%2e".to_owned(),
        "x".repeat(5000),
    ];
    for bad in &no_ids {
        for path in ["", "/task", "/stats", "/task/stats", "/taskWithTags"] {
            let answer = get(&format!("{base}/v4/{bad}{path}"));
            assert_eq!(answer.status, 404, "{bad}{path}: {answer:?}");
            let text = answer.any_json().as_str().unwrap().to_owned();
            assert!(text.contains("from request: unable to get"), "{text}");
            assert!(text.len() < 400, "what is quoted is bounded");
        }
        let answer = get(&format!("{base}/api/{bad}/task-protection/v1/state"));
        assert_eq!(answer.status, 404);
        assert_eq!(answer.any_json()["error"]["Code"], "ResourceNotFoundException");
        let answer = get(&format!("{base}/v2/credentials/{bad}"));
        assert_eq!(answer.status, 400);
        assert_eq!(answer.any_json()["code"], "InvalidIdInRequest");
    }
    // The ID of the metadata is none of credentials, and a task without a role has none.
    assert_eq!(get(&format!("{base}/v2/credentials/{id}")).status, 400);
    assert_eq!(get(&format!("{base}/v2/credentials/")).any_json()["code"], "NoIdInRequest");
    assert!(!told.keys().any(|name| name.starts_with("AWS_CONTAINER_CREDENTIALS")));

    for path in ["v4", "v4/", "v4/x/y/z", "api/x/fault/v1/x/start", "v2/metadata", "v1/x"] {
        let answer = get(&format!("{base}/{path}"));
        assert!(matches!(answer.status, 404 | 403), "{path}: {answer:?}");
    }
    assert_eq!(ask("POST", uri, "").status, 405);
    assert_eq!(ask("DELETE", uri, "").status, 405);

    // Neither a name that leads here nor a request that should go elsewhere is answered.
    let address = base.strip_prefix("http://").unwrap();
    let with = |target: &str, host: &str| {
        exchange(address, &format!("GET {target} HTTP/1.0\r\nHost: {host}\r\n\r\n")).status
    };
    let path = format!("/v4/{id}");
    assert_eq!(with(&path, "127.0.0.1"), 200);
    assert_eq!(with(&path, "localhost:51678"), 200);
    assert_eq!(with(&path, "rebound.example"), 400);
    assert_eq!(with(&format!("http://169.254.169.254{path}"), "169.254.169.254"), 200, "our own");
    assert_eq!(with(&format!("http://evil.example{path}"), "127.0.0.1"), 400);
    assert_eq!(with("/v1/metadata", "rebound.example"), 400);
}

#[test]
fn a_role_without_credentials_keeps_the_task_from_starting() {
    let (host, config) = host();
    let agent = start(&host, &config);
    host.load_busybox(&agent);
    let unknown = "arn:aws:iam::123456789012:role/unknown";
    let arn = run(
        &agent,
        &register(&agent, "unknown", "host", Some(unknown), "sleep 1000"),
        "host",
        json!([]),
    );
    let task = agent.wait(&arn, "STOPPED");
    assert_eq!(task["stopCode"], "TaskFailedToStart");
    let reason = task["containers"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("ResourceInitializationError: "), "{reason}");
    assert!(reason.contains(&format!("[roles.\"{unknown}\"]")), "{reason}");

    // An override names another role, whose program fails: the task runs, and is told that there is nothing.
    let definition = register(&agent, "broken", "host", Some(unknown), "env; sleep 1000");
    let input = json!({"taskDefinition": definition, "overrides": {"taskRoleArn": BROKEN_ROLE}});
    let arn = agent.ok("RunTask", &input)["tasks"][0]["taskArn"].as_str().unwrap().to_owned();
    agent.wait(&arn, "RUNNING");
    let id = arn.rsplit('/').next().unwrap();
    let uri = agent
        .lines(&format!("/coracle/v1/logs?task={id}&follow=true"))
        .find_map(|line| {
            let line = line["log"].as_str().unwrap().to_owned();
            let uri = line.trim_end().strip_prefix("AWS_CONTAINER_CREDENTIALS_FULL_URI=")?;
            Some(uri.to_owned())
        })
        .unwrap();
    let answer = get(&uri);
    assert_eq!(answer.status, 500);
    assert!(!answer.body.contains(CANARY));
    assert!(host.log().contains("no credentials for the task's role"));
    assert!(!host.log().contains(CANARY));
}

#[test]
fn a_task_protects_itself() {
    let (host, config) = host();
    let agent = start(&host, &config);
    host.load_busybox(&agent);
    let (arn, told) = waiting(&agent, "guard", "host", None);
    let uri = format!("{}/task-protection/v1/state", told["ECS_AGENT_URI"]);

    let off =
        json!({"protection": {"ExpirationDate": null, "ProtectionEnabled": false, "TaskArn": arn}});
    assert_eq!(get(&uri).json(), off);
    let on = ask("PUT", &uri, r#"{"ProtectionEnabled":true,"ExpiresInMinutes":5}"#).json();
    assert_eq!(on["protection"]["ProtectionEnabled"], true);
    assert!(on["protection"]["ExpirationDate"].as_str().unwrap().ends_with('Z'));
    assert_eq!(get(&uri).json(), on);
    for bad in
        ["", "{}", "[]", r#"{"ProtectionEnabled":true,"ExpiresInMinutes":2881}"#, r#"{"Other":1}"#]
    {
        let answer = ask("PUT", &uri, bad);
        assert_eq!(answer.status, 400, "{bad}: {answer:?}");
        assert_eq!(answer.any_json()["error"]["Code"], "InvalidParameterException");
    }
    assert_eq!(ask("PUT", &uri, &" ".repeat(10_000)).status, 413);
    assert_eq!(get(&uri).json(), on, "nothing of that changed it");

    // It is kept like the task itself.
    agent.kill();
    let agent = start(&host, &config);
    agent.wait(&arn, "RUNNING");
    assert_eq!(get(&uri).json(), on);
    assert_eq!(ask("PUT", &uri, r#"{"ProtectionEnabled":false}"#).json(), off);

    // Callers of the API protect tasks of services, as in ECS.
    let input = json!({"cluster": "default", "tasks": [arn], "protectionEnabled": true});
    let answer = agent.ok("UpdateTaskProtection", &input);
    assert_eq!(answer["protectedTasks"], json!([]));
    assert_eq!(answer["failures"][0]["reason"], "TASK_NOT_VALID");
    let answer = agent.ok("GetTaskProtection", &json!({"cluster": "default", "tasks": [arn]}));
    assert_eq!(answer["failures"][0]["reason"], "TASK_NOT_VALID");
    let refused = json!({"cluster": "default", "tasks": [arn], "protectionEnabled": true, "expiresInMinutes": 0});
    assert_eq!(
        agent.call("UpdateTaskProtection", &refused).unwrap_err().kind,
        "InvalidParameterException"
    );
}

#[test]
fn who_asks_too_often_is_told_so() {
    let (host, config) = host();
    let agent = start(&host, &config);
    host.load_busybox(&agent);
    let (_, told) = waiting(&agent, "eager", "host", None);
    let (_, other) = waiting(&agent, "calm", "host", None);
    let uri = &told["ECS_CONTAINER_METADATA_URI_V4"];
    let (address, path) = uri.strip_prefix("http://").unwrap().split_once('/').unwrap();
    // All at once over one connection: more than any machine answers in the time that refills what was used.
    let many = 4000;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\n\r\n").repeat(many - 1)
        + &format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(agent::PATIENCE)).unwrap();
    let mut sender = stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || sender.write_all(request.as_bytes()));
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    sending.join().unwrap().unwrap();
    let (good, refused) =
        (text.matches("HTTP/1.1 200").count(), text.matches("HTTP/1.1 429").count());
    assert_eq!(good + refused, many);
    assert!(good >= 60, "a burst is allowed: {good}");
    assert!(refused > 0, "{good} of {many} were answered");
    assert!(text.contains("You have reached maximum request limit."));
    assert_eq!(get(&other["ECS_CONTAINER_METADATA_URI_V4"]).status, 200, "others may ask");
}

#[test]
fn the_agent_and_its_tasks_are_told_on_the_box() {
    let (host, config) = host();
    let agent = start(&host, &config);
    host.load_busybox(&agent);
    let (arn, told) = waiting(&agent, "seen", "host", None);
    let base = told["ECS_AGENT_URI"].split("/api/").next().unwrap().to_owned();

    let about = get(&format!("{base}/v1/metadata")).json();
    assert_eq!(about["Cluster"], "default");
    assert!(
        about["ContainerInstanceArn"].as_str().unwrap().contains(":container-instance/default/")
    );
    assert!(about["Version"].as_str().unwrap().contains(env!("CARGO_PKG_VERSION")));

    let all = get(&format!("{base}/v1/tasks")).json();
    let task = &all["Tasks"][0];
    assert_eq!(task["Arn"], json!(arn));
    assert_eq!((&task["Family"], &task["Version"]), (&json!("seen"), &json!("1")));
    assert_eq!(
        (&task["DesiredStatus"], &task["KnownStatus"]),
        (&json!("RUNNING"), &json!("RUNNING"))
    );
    let container = &task["Containers"][0];
    assert_eq!(container["Name"], "app");
    let id = container["DockerId"].as_str().unwrap();
    for query in [
        format!("taskarn={arn}"),
        format!("taskarn={}", arn.replace(':', "%3A").replace('/', "%2F")),
        format!("dockerid={id}"),
        format!("dockerid={}", &id[..12]),
    ] {
        assert_eq!(&get(&format!("{base}/v1/tasks?{query}")).json(), task, "{query}");
    }
    for (query, status) in [
        ("taskarn=arn:aws:ecs:local:0:task/default/none".to_owned(), 404),
        ("dockerid=none".to_owned(), 404),
        (format!("dockerid={id}&taskarn={arn}"), 400),
    ] {
        let answer = get(&format!("{base}/v1/tasks?{query}"));
        assert_eq!((answer.status, &answer.any_json()["Arn"]), (status, &json!("")), "{query}");
    }
    // The ID of no endpoint is told.
    let secret = told["ECS_AGENT_URI"].rsplit_once('-').unwrap().1;
    for path in ["v1/metadata", "v1/tasks"] {
        assert!(!get(&format!("{base}/{path}")).body.contains(secret));
    }
    assert!(!agent.describe(&arn).to_string().contains(secret));
}

/// Runs `test` on a box with a network of its own: nothing but a loopback, and the instance metadata of a cloud.
fn on_a_box_of_its_own(test: impl FnOnce() + Send + 'static) {
    let box_ = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        ip(&["link", "set", "lo", "up"]);
        ip(&["address", "add", "169.254.169.254/32", "dev", "lo"]);
        let cloud = TcpListener::bind("169.254.169.254:80").unwrap();
        std::thread::spawn(move || {
            for mut client in cloud.incoming().map_while(Result::ok) {
                let mut request = [0; 4096];
                let _ = client.read(&mut request);
                let _ = client.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\ncloud");
            }
        });
        test();
    });
    if let Err(panic) = box_.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().unwrap();
    assert!(status.success(), "ip {arguments:?}");
}

/// What a container finds at each of its endpoints, by itself.
const ASK_ALL: &str = r#"
show() { echo "== $1"; wget -q -O - "$2" 2>&1; echo; }
show container "$ECS_CONTAINER_METADATA_URI_V4"
show task "$ECS_CONTAINER_METADATA_URI_V4/task"
show tags "$ECS_CONTAINER_METADATA_URI_V4/taskWithTags"
show stats "$ECS_CONTAINER_METADATA_URI_V4/stats"
show task-stats "$ECS_CONTAINER_METADATA_URI_V4/task/stats"
show three "$ECS_CONTAINER_METADATA_URI/task"
show credentials "http://169.254.170.2$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
show introspection http://169.254.170.2/v1/tasks
path=${ECS_AGENT_URI#http://169.254.170.2}/task-protection/v1/state
put() {
    printf 'PUT %s HTTP/1.0\r\nHost: 169.254.170.2\r\nContent-Length: %s\r\n\r\n%s' "$path" "${#1}" "$1" |
        nc 169.254.170.2 80 | tail -n 1
}
echo "== put"; put '{"ProtectionEnabled":true}'; echo
show protection "http://169.254.170.2$path"
echo "== addresses"; hostname -i
echo "== uris"; echo "$ECS_CONTAINER_METADATA_URI_V4 $AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
echo "== done"
while :; do sleep 1000; done
"#;

/// What it prints under each heading, up to `== done`.
fn sections(agent: &Agent<'_>, arn: &str) -> BTreeMap<String, String> {
    let id = arn.rsplit('/').next().unwrap();
    let mut sections = BTreeMap::new();
    let mut heading = String::new();
    for line in agent.lines(&format!("/coracle/v1/logs?task={id}&follow=true")) {
        let text = line["log"].as_str().unwrap();
        match text.strip_prefix("== ") {
            Some("done\n") => return sections,
            Some(next) => next.trim_end().clone_into(&mut heading),
            None => sections.entry(heading.clone()).or_insert_with(String::new).push_str(text),
        }
    }
    panic!("the output of {arn} ended early: {sections:?}");
}

fn all_is_told_in(mode: &'static str) {
    let (host, config) = provisioned();
    on_a_box_of_its_own(move || {
        let agent = start(&host, &config);
        let definition = register(&agent, "told", mode, Some(ROLE), ASK_ALL);
        let arn = run(&agent, &definition, mode, json!([]));
        let told = sections(&agent, &arn);
        let section =
            |name: &str| told.get(name).unwrap_or_else(|| panic!("no {name}: {told:?}")).trim();
        let json = |name: &str| -> Value {
            let text = section(name);
            serde_json::from_str(text).unwrap_or_else(|e| panic!("{name}: {e}: {text}"))
        };

        let described = agent.wait(&arn, "RUNNING");
        let shown = &described["containers"][0];
        let container = json("container");
        let id = container["DockerId"].as_str().unwrap();
        assert_eq!(shown["runtimeId"], id);
        let network = &container["Networks"][0];
        assert_eq!(network["NetworkMode"], mode);
        let address = network["IPv4Addresses"][0].as_str().unwrap();
        assert!(section("addresses").contains(address), "{address}: {}", section("addresses"));
        if mode == "awsvpc" {
            assert_eq!(shown["networkInterfaces"][0]["privateIpv4Address"], address);
            assert!(network["MACAddress"].as_str().unwrap().contains(':'));
            assert!(network["PrivateDNSName"].as_str().unwrap().starts_with("ip-"));
        }
        assert_eq!(json("task")["TaskARN"], json!(arn));
        assert_eq!(json("tags")["TaskARN"], json!(arn));
        assert_eq!(json("three")["Containers"][0]["DockerId"], id);
        assert_eq!(json("stats")["id"], id);
        assert!(json("stats")["networks"]["eth0"]["rx_bytes"].as_u64().unwrap() > 0);
        let of_task = json("task-stats");
        assert!(of_task[id]["network_rate_stats"]["rx_bytes_per_sec"].is_number(), "{of_task}");
        assert_eq!(json("credentials")["SecretAccessKey"], CANARY);
        assert!(section("introspection").contains("404"), "for programs on the box only");
        assert_eq!(json("put")["protection"]["ProtectionEnabled"], true);
        assert_eq!(json("protection"), json("put"));

        // Another task is told nothing of it, though it knows where to ask. Nor is the box itself.
        let (metadata, credentials) = section("uris").split_once(' ').unwrap();
        let script = r#"
            for uri in $URIS; do wget -q -O - "$uri" 2>&1; done
            wget -q -O - "$ECS_CONTAINER_METADATA_URI_V4" > /dev/null && echo own
        "#;
        let uris = format!("{metadata} {metadata}/task http://169.254.170.2{credentials}");
        let spy = register(&agent, "spy", mode, None, script);
        let spy = run(&agent, &spy, mode, json!([{"name": "URIS", "value": uris}]));
        agent.wait(&spy, "STOPPED");
        let output: Vec<_> = agent.output(&spy).into_iter().map(|(_, _, text)| text).collect();
        let refusals: Vec<_> = output
            .iter()
            .filter_map(|line| line.split("error: ").nth(1)?.split(' ').nth(1))
            .collect();
        assert_eq!(refusals, ["404", "404", "400"], "{output:?}");
        assert_eq!(output.last().unwrap(), "own\n", "{output:?}");
        let of_box = listening(agent.pid());
        let on_bridge = of_box.iter().find(|a| a.ends_with(":51679")).unwrap();
        let elsewhere = |a: &&String| !a.starts_with("127.") && *a != on_bridge;
        let names: Vec<_> = of_box.iter().filter(elsewhere).collect();
        assert_eq!(of_box.len(), 3, "the loopback and the bridge alone: {of_box:?}");
        assert!(names[0].ends_with(":51680") && !names[0].starts_with("0."), "{names:?}");
        let path = metadata.strip_prefix("http://169.254.170.2").unwrap();
        assert_eq!(get(&format!("http://{on_bridge}{path}")).status, 404);
        let loopback = of_box.iter().find(|a| a.starts_with("127.")).unwrap();
        assert_eq!(get(&format!("http://{loopback}{path}")).status, 404);

        // The addresses outlive the agent.
        agent.kill();
        let agent = start(&host, &config);
        agent.wait(&arn, "RUNNING");
        let run_dir = host.run_dir();
        let script = "wget -q -O - $ECS_CONTAINER_METADATA_URI_V4";
        let command =
            ["exec", "--run-dir", run_dir.to_str().unwrap(), &arn, "--", "sh", "-c", script];
        let asked = host.cli(&command);
        assert_eq!(serde_json::from_str::<Value>(&asked).unwrap()["DockerId"], id);
        agent.ok("StopTask", &json!({"task": arn}));
        agent.wait(&arn, "STOPPED");
        assert!(!host.log().contains(CANARY));
    });
}

/// The IPv4 addresses on which a process listens, `ADDRESS:PORT`.
fn listening(pid: i32) -> Vec<String> {
    let inodes: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|fd| {
            let target = std::fs::read_link(fd.ok()?.path()).ok()?;
            Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[3] == "0A" && inodes.iter().any(|inode| inode == row[9]))
        .map(|row| {
            let (address, port) = row[1].split_once(':').unwrap();
            let octets = u32::from_str_radix(address, 16).unwrap().to_ne_bytes();
            let port = u16::from_str_radix(port, 16).unwrap();
            format!("{}:{port}", std::net::Ipv4Addr::from(octets))
        })
        .collect()
}

#[test]
fn a_task_in_bridge_mode_asks_over_the_bridge() {
    all_is_told_in("bridge");
}

#[test]
fn a_task_in_awsvpc_mode_asks_over_the_bridge() {
    all_is_told_in("awsvpc");
}

#[test]
fn the_instance_metadata_of_a_cloud_is_out_of_reach_unless_allowed() {
    let boxes = [("", None), ("allow_instance_metadata = true\n", Some("cloud"))]
        .map(|(setting, expected)| (provisioned(), setting, expected));
    on_a_box_of_its_own(move || {
        for ((host, config), setting, expected) in boxes {
            let roles = std::fs::read_to_string(&config).unwrap();
            std::fs::write(&config, format!("{setting}{roles}")).unwrap();
            let agent = start(&host, &config);
            // What is not answered is waited for a little.
            let patience = if expected.is_some() { 60 } else { 2 };
            let script =
                format!("timeout {patience} wget -q -O - http://169.254.169.254/latest/ && echo");
            for mode in ["bridge", "awsvpc"] {
                let arn =
                    run(&agent, &register(&agent, "cloud", mode, None, &script), mode, json!([]));
                let task = agent.wait(&arn, "STOPPED");
                let output = agent.output(&arn);
                let said = output.iter().find(|(_, stream, _)| stream == "stdout");
                let said = said.map(|(_, _, text)| text.trim_end());
                assert_eq!(said, expected, "{mode} {setting}: {task:#}");
            }
        }
    });
}
