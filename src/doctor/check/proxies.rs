//! The HTTP proxies that registries are reached through.

use super::Check;
use crate::config::Proxy;
use crate::doctor::connect::tcp;
use crate::doctor::finding::Finding;
use std::time::Duration;

pub(super) const CHECK: Check = Check::new(
    "proxies",
    "The HTTP proxies in the settings, or in the variables that everybody uses, can be reached. Images come through them.",
    "Set `http_proxy`, `https_proxy` and `no_proxy` in `/etc/coracle/agent.toml`; an empty one is none.",
    |subject| {
        let Some(config) = subject.config() else { return Finding::skipped("this is a hub") };
        let mut proxies: Vec<&Proxy> = Vec::new();
        for proxy in config.proxies.http.iter().chain(&config.proxies.https) {
            if !proxies.contains(&proxy) {
                proxies.push(proxy);
            }
        }
        let tried = proxies.iter().map(|proxy| {
            (proxy.to_string(), tcp(&proxy.host, proxy.port, PATIENCE).map(drop))
        });
        judge(&tried.collect::<Vec<_>>())
    },
)
.of(super::Of::Box)
.at_leisure();

const PATIENCE: Duration = Duration::from_secs(3);

fn judge(tried: &[(String, Result<(), String>)]) -> Finding {
    let wrong = tried.iter().filter_map(|(proxy, result)| {
        let why = result.as_ref().err()?;
        Some(Finding::warning(
            format!("the proxy {proxy} cannot be reached: {why}"),
            "set http_proxy and https_proxy in /etc/coracle/agent.toml; \"\" is none",
        ))
    });
    Finding::all(wrong.collect(), || match tried {
        [] => Finding::ok("no proxy is set"),
        [(proxy, _), ..] => Finding::ok(format!("{proxy} can be reached")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;
    use crate::doctor::subject::Subject;

    #[test]
    fn a_proxy_that_is_away_is_told_without_its_password() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let proxy = Proxy::parse(&format!("http://ada:secret@{free}")).unwrap();
        let subject = Subject::at("/nonexistent").configured(|c| c.proxies.https = Some(proxy));
        let found = (CHECK.run)(&subject);
        assert_eq!(found.status, Status::Warning);
        assert!(found.found.contains(&free.to_string()) && !found.found.contains("secret"));
        assert_eq!((CHECK.run)(&Subject::at("/nonexistent")).status, Status::Ok);
    }
}
