//! The client against a real socket with an answer written by hand.

use super::*;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

/// Answers one request on `run_dir/api.sock` with `answer`; the request as it came.
fn answer_once(run_dir: &Path, answer: &'static str) -> JoinHandle<String> {
    let listener = UnixListener::bind(run_dir.join("api.sock")).unwrap();
    std::thread::spawn(move || answer_next(&listener, answer))
}

fn answer_next(listener: &UnixListener, answer: &str) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        request.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8(request.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|line| {
                line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned)
            })
            .map_or(0, |length| length.parse::<usize>().unwrap());
        if body.len() >= length {
            break;
        }
    }
    stream.write_all(answer.as_bytes()).unwrap();
    String::from_utf8(request).unwrap()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn an_operation_goes_out_as_the_api_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = answer_once(
        dir.path(),
        "HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n{\"clusterArns\":[]}",
    );
    let answer = block_on(Client::new(dir.path()).ecs("ListClusters", &json!({"maxResults": 1})));
    assert_eq!(answer.unwrap(), json!({"clusterArns": []}));
    let request = server.join().unwrap().to_lowercase();
    assert!(request.starts_with("post / http/1.1\r\n"), "{request}");
    assert!(request.contains("x-amz-target: amazonec2containerservicev20141113.listclusters"));
    assert!(request.contains("content-type: application/x-amz-json-1.1"));
    assert!(request.ends_with("\r\n\r\n{\"maxresults\":1}"));
}

#[test]
fn a_task_that_is_told_to_stop_between_the_lists_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("api.sock")).unwrap();
    let arn = "arn:aws:ecs:local:000000000000:task/default/11112222333344445555666677778888";
    let listed = json!({ "taskArns": [arn] });
    let answers =
        [json!({ "clusterArns": ["default"] }), listed.clone(), listed, json!({ "tasks": [] })];
    let server = std::thread::spawn(move || {
        answers.map(|answer| {
            let body = answer.to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", body.len());
            answer_next(&listener, &format!("{head}connection: close\r\n\r\n{body}"))
        })
    });
    let client = Client::new(dir.path());
    let everything = Selection { cluster: None, stopped: true };
    assert_eq!(block_on(client.tasks(&everything)).unwrap(), [json!(null); 0]);
    let [_, running, stopped, described] = server.join().unwrap();
    assert!(running.contains("RUNNING") && stopped.contains("STOPPED"), "{running}{stopped}");
    assert_eq!(described.matches(arn).count(), 1, "{described}");
}

#[test]
fn an_exception_is_told_as_the_aws_cli_tells_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = answer_once(
        dir.path(),
        "HTTP/1.1 400 Bad Request\r\ncontent-length: 63\r\n\r\n\
         {\"__type\":\"com.amazonaws.ecs#ClientException\",\"message\":\"no  \"}",
    );
    let error = block_on(Client::new(dir.path()).ecs("RunTask", &json!({}))).unwrap_err();
    assert_eq!(error.to_string(), "ClientException: no  ");
    assert!(error.is_exception("ClientException"));
    server.join().unwrap();
}

#[test]
fn a_stream_is_given_line_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let server = answer_once(
        dir.path(),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
         6\r\n{\"a\":1\r\n9\r\n}\n{\"a\":2}\r\n3\r\n\n\n\n\r\n0\r\n\r\n",
    );
    let seen = block_on(async {
        let mut lines = Client::new(dir.path()).watch("../x y").await.unwrap();
        let mut seen = Vec::new();
        while let Some(line) = lines.next::<Value>().await.unwrap() {
            seen.push(line);
        }
        seen
    });
    assert_eq!(seen, [json!({"a": 1}), json!({"a": 2})]);
    assert!(server.join().unwrap().starts_with("GET /coracle/v1/tasks/..%2Fx%20y/watch "));
}

#[test]
fn a_stream_that_breaks_off_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let server = answer_once(
        dir.path(),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\n{\"a\":1\r\n0\r\n\r\n",
    );
    let error = block_on(async {
        let mut lines = Client::new(dir.path()).watch("x").await.unwrap();
        lines.next::<Value>().await.unwrap_err()
    });
    assert!(matches!(error, Error::Protocol(_)), "{error:?}");
    server.join().unwrap();
}

#[test]
fn an_endless_line_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let server = answer_once(
        dir.path(),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n14\r\n12345678901234567890\r\n0\r\n\r\n",
    );
    let error = block_on(async {
        let client = Client::new(dir.path());
        let response = client.send(local(Method::GET, "/"), String::new()).await.unwrap();
        Lines::new(response.into_body(), 10).next::<Value>().await.unwrap_err()
    });
    assert!(error.to_string().contains("more than 10 bytes"), "{error}");
    server.join().unwrap();
}

#[test]
fn without_an_agent_it_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let error = block_on(Client::new(dir.path()).version()).unwrap_err();
    assert!(matches!(error, Error::NoAgent { .. }));
    // A socket whose agent was killed.
    let socket = dir.path().join("api.sock");
    drop(UnixListener::bind(&socket).unwrap());
    // A program that another test is just executing holds the socket a moment longer.
    while std::os::unix::net::UnixStream::connect(&socket).is_ok() {
        std::thread::yield_now();
    }
    let error = block_on(Client::new(dir.path()).version()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("api.sock: start one with `coracle agent`"), "{text}");
}
