//! Registries behind an HTTP proxy, whose names only the proxy can resolve.

use crate::certificates::Authority;
use crate::front::{Front, Reply};
use crate::images::push_simple;
use crate::proxy_server::ProxyServer;
use crate::registry::{Registry, basic};
use crate::token;
use coracle::config::{Proxies, Proxy};
use coracle::image::{ImageStore, Login, Options};

/// All requests through the proxy.
fn through(url: &str) -> Proxies {
    let proxy = Some(Proxy::parse(url).unwrap());
    Proxies { http: proxy.clone(), https: proxy, exceptions: Vec::new() }
}

async fn pull(options: Options, name: &str) -> Result<String, String> {
    let state = tempfile::tempdir().unwrap();
    let images = ImageStore::open(state.path(), options).unwrap();
    let pulled = images.pull(name, |_| {}).await;
    pulled.map(|digest| digest.to_string()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn tunnels_for_tls_and_whole_urls_without() {
    let Some(plain) = Registry::start() else { return };
    let (manifest, _) = push_simple(&plain, "a", b"x");
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "authority");
    let pair = authority.sign(directory.path(), "registry.test", |_| {});
    let secure = plain.start_with_tls(&pair.certificate, &pair.key).unwrap();
    let front = Front::start("127.0.0.1", &plain.address, |_, _| Reply::Same);
    let login = Some(basic("ada", "p@ss"));
    let proxy = ProxyServer::start(
        login,
        vec![
            ("registry.test:443".to_owned(), secure.address.clone()),
            ("plain.test:5000".to_owned(), front.address.clone()),
        ],
    );
    let options = Options {
        proxies: through(&format!("http://ada:p%40ss@{}", proxy.address)),
        insecure: ["plain.test:5000".to_owned()].into(),
        certificate_authorities: [("registry.test".to_owned(), authority.certificate)].into(),
        ..Options::default()
    };
    assert_eq!(pull(options.clone(), "registry.test/a").await.unwrap(), manifest.to_string());
    let asked = proxy.asked();
    assert!(!asked.is_empty());
    assert!(asked.iter().all(|line| line == "CONNECT registry.test:443 HTTP/1.1"), "{asked:?}");

    // An insecure registry is asked for TLS first.
    assert_eq!(pull(options.clone(), "plain.test:5000/a").await.unwrap(), manifest.to_string());
    let asked = proxy.asked().split_off(asked.len());
    assert_eq!(asked[0], "CONNECT plain.test:5000 HTTP/1.1");
    let manifest = "GET http://plain.test:5000/v2/a/manifests/latest HTTP/1.1";
    assert!(asked.iter().any(|line| line == manifest), "{asked:?}");
    // This machine itself is asked directly.
    assert!(pull(options, &format!("{}/a", plain.address)).await.is_ok());
    assert!(!proxy.asked().iter().any(|line| line.contains("127.0.0.1")));
}

#[tokio::test]
async fn what_a_proxy_refuses() {
    let proxy = ProxyServer::start(Some(basic("ada", "right")), Vec::new());
    for (login, hint) in [("", "it wants a login"), ("ada:wr0ng@", "it does not take the login")] {
        for insecure in [false, true] {
            let options = Options {
                proxies: through(&format!("http://{login}{}", proxy.address)),
                insecure: insecure.then(|| "registry.test".to_owned()).into_iter().collect(),
                ..Options::default()
            };
            let error = pull(options, "registry.test/a").await.unwrap_err();
            assert!(error.contains(&format!("the proxy {} answers 407", proxy.address)), "{error}");
            assert!(error.contains(hint) && !error.contains("wr0ng"), "{error}");
        }
    }
    let options = Options {
        proxies: through(&format!("http://ada:right@{}", proxy.address)),
        ..Options::default()
    };
    let error = pull(options, "registry.test/a").await.unwrap_err();
    assert!(error.contains("answers 502"), "{error}");
    let options = Options { proxies: through("127.0.0.1:1"), ..Options::default() };
    let error = pull(options, "registry.test/a").await.unwrap_err();
    assert!(error.contains("dial the proxy 127.0.0.1:1"), "{error}");
}

/// As Docker Hub, GHCR and quay.io have it: tokens come from a host of their own, or of the registry's domain.
#[tokio::test]
async fn token_servers_of_the_same_domain_get_the_login_and_others_do_not() {
    let Some((registry, server)) = token::start("ada", "s3cret") else { return };
    let (manifest, _) = push_simple(&registry, "a/private", b"x");
    for (realm, known) in
        [("http://auth.hub.test/token", true), ("http://auth.evil.test/token", false)]
    {
        let front = Front::start("127.0.0.1", &registry.address, move |request, _| {
            if request.header("authorization").is_some() {
                return Reply::Same;
            }
            let field = format!(
                "WWW-Authenticate: Bearer realm=\"{realm}\",service=\"test\",scope=\"repository:a/private:pull\"\r\n"
            );
            Reply::Own("401 Unauthorized", field, b"{}".to_vec())
        });
        let proxy = ProxyServer::start(
            None,
            vec![
                ("registry.hub.test:5000".to_owned(), front.address.clone()),
                ("auth.hub.test:80".to_owned(), server.address.clone()),
                ("auth.evil.test:80".to_owned(), server.address.clone()),
            ],
        );
        let state = tempfile::tempdir().unwrap();
        let options = Options {
            proxies: through(&format!("http://{}", proxy.address)),
            insecure: ["registry.hub.test:5000".to_owned()].into(),
            ..Options::default()
        };
        let images = ImageStore::open(state.path(), options).unwrap();
        let login = Login::new("ada".to_owned(), "s3cret".to_owned());
        let logged_in = images.log_in("registry.hub.test:5000", login).await;
        if known {
            logged_in.unwrap();
            let digest = images.pull("registry.hub.test:5000/a/private", |_| {}).await.unwrap();
            assert_eq!(digest.as_str(), manifest.to_string());
        } else {
            let error = logged_in.unwrap_err().to_string();
            assert!(error.contains("does not belong to the registry's domain"), "{error}");
            assert_eq!(
                server.requests.lock().unwrap().last().unwrap().header("authorization"),
                None
            );
        }
    }
}
