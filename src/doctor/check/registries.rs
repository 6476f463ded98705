//! The mirrors of registries that are in the settings. Registries that images name are not asked.

use super::Check;
use crate::doctor::connect::tcp;
use crate::doctor::finding::Finding;
use crate::doctor::subject::Subject;
use std::time::Duration;

pub(super) const CHECK: Check = Check::new(
    "registries",
    "The mirrors in `[registries]` can be reached, and the certificate files named there can be read. Others are not asked.",
    "Correct `mirrors`, `ca_file`, `client_cert` and `client_key` in `/etc/coracle/agent.toml`; a mirror that is away is passed over.",
    |subject| {
        let Some(config) = subject.config() else { return Finding::skipped("this is a hub") };
        let mirrors = config.registries.values().flat_map(|registry| &registry.mirrors);
        let tried = mirrors.map(|mirror| (mirror.clone(), reach(subject, mirror)));
        let tried: Vec<_> = tried.collect();
        let files = config.registries.values().flat_map(|registry| {
            [&registry.ca_file, &registry.client_cert, &registry.client_key].into_iter().flatten()
        });
        let unreadable = files.filter_map(|file| {
            let error = std::fs::File::open(file).err()?;
            Some(format!("{} cannot be read: {error}", file.display()))
        });
        judge(&tried, &unreadable.collect::<Vec<_>>())
    },
)
.of(super::Of::Box)
.at_leisure();

const PATIENCE: Duration = Duration::from_secs(3);

/// `HOST[:PORT]`, or a URL.
fn place(mirror: &str) -> (bool, &str, u16) {
    let (secure, rest) = match mirror.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some((_, rest)) => (true, rest),
        None => (true, mirror),
    };
    let host = rest.split('/').next().unwrap_or(rest);
    let usual = if secure { 443 } else { 80 };
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (secure, name, port.parse().unwrap_or(usual)),
        _ => (secure, host, usual),
    }
}

fn reach(subject: &Subject, mirror: &str) -> Result<(), String> {
    let (secure, host, port) = place(mirror);
    let proxies = subject.config().map(|config| &config.proxies);
    match proxies.and_then(|proxies| proxies.of(secure, host, port)) {
        // That one is checked itself.
        Some(_) => Ok(()),
        None => tcp(host, port, PATIENCE).map(drop),
    }
}

fn judge(tried: &[(String, Result<(), String>)], unreadable: &[String]) -> Finding {
    let away = tried.iter().filter_map(|(mirror, result)| {
        let why = result.as_ref().err()?;
        Some(Finding::warning(
            format!("the mirror {mirror} cannot be reached: {why}"),
            "start it, or take it out of mirrors in /etc/coracle/agent.toml",
        ))
    });
    let files = unreadable.iter().map(|what| {
        Finding::error(
            what.clone(),
            "correct ca_file, client_cert or client_key in /etc/coracle/agent.toml",
        )
    });
    Finding::all(away.chain(files).collect(), || match tried.len() {
        0 => Finding::ok("no mirrors are set"),
        1 => Finding::ok("the mirror can be reached"),
        count => Finding::ok(format!("{count} mirrors can be reached")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Registry;
    use crate::doctor::finding::Status;

    #[test]
    fn mirrors_and_files_are_tried() {
        assert_eq!(place("m.example"), (true, "m.example", 443));
        assert_eq!(place("http://m.example/v2"), (false, "m.example", 80));
        assert_eq!(place("[::1]:5000"), (true, "[::1]", 5000));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mirror = listener.local_addr().unwrap().to_string();
        let look = |registry: Registry| {
            let subject = Subject::at("/nonexistent");
            (CHECK.run)(&subject.configured(|c| drop(c.registries.insert("r".into(), registry))))
        };
        let mirrors = vec![mirror.clone()];
        let there = || Registry { mirrors: mirrors.clone(), ..Registry::default() };
        assert_eq!(look(there()).status, Status::Ok);
        // A program that another test starts may hold a copy until it is executed.
        rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
        let away = look(there());
        assert!(away.status == Status::Warning && away.found.contains(&mirror), "{away:?}");
        let file = Registry { ca_file: Some("/nonexistent.pem".into()), ..Registry::default() };
        assert_eq!(look(file).status, Status::Error);
    }
}
