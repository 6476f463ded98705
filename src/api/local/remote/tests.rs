use super::*;

#[test]
fn a_hub_may_look_execute_and_remove_images_and_no_more() {
    let may = |method: Method, path: &str| is_for_hubs(&method, path);
    for path in [
        "version",
        "logs",
        "stats",
        "images",
        "why",
        "tasks/1/stats",
        "tasks/1/top",
        "tasks/1/watch",
    ] {
        assert!(may(Method::GET, &format!("{PREFIX}{path}")), "{path}");
        assert!(!may(Method::POST, &format!("{PREFIX}{path}")), "{path}");
    }
    for path in ["tasks/1/exec", "images/remove", "images/prune"] {
        assert!(may(Method::POST, &format!("{PREFIX}{path}")), "{path}");
    }
    for path in [
        "credentials",
        "secrets",
        "volumes",
        "tasks/1/exec",
        "tasks/1/attach",
        "manifests/export",
        "images/load",
        "images/remove",
        "images/prune",
        "tasks/1/2/watch",
        "services/watch",
        "",
    ] {
        assert!(!may(Method::GET, &format!("{PREFIX}{path}")), "{path}");
    }
    for path in [
        "tasks/1/attach",
        "images/load",
        "images/pull",
        "images/save",
        "images/prune/x",
        "volumes/prune",
        "secrets/set",
        "manifests",
    ] {
        assert!(!may(Method::POST, &format!("{PREFIX}{path}")), "{path}");
    }
    assert!(!may(Method::GET, "/"));
    assert!(!may(Method::POST, "/"));
    assert!(!may(Method::DELETE, &format!("{PREFIX}volumes/a")));
}
