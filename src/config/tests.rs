use super::*;
use std::ffi::OsString;
use std::io::Write as _;
use std::time::Duration;

fn environment(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn file(text: &str) -> (tempfile::NamedTempFile, Overrides) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let overrides = Overrides { config: Some(file.path().to_owned()), ..Overrides::default() };
    (file, overrides)
}

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let (_file, overrides) = file(text);
    Config::from_parts(&overrides, environment(variables))
}

fn refusal(text: &str, variables: &[(&str, &str)]) -> String {
    load(text, variables).unwrap_err().to_string()
}

const DEFAULT_TEXT: &str = include_str!("../../configs/agent.toml");

#[test]
fn the_default_file_sets_every_key_to_its_default() {
    assert_eq!(load(DEFAULT_TEXT, &[]).unwrap(), Config::default());
    assert_eq!(load("", &[]).unwrap(), Config::default());
    let set: toml::Table = toml::from_str(DEFAULT_TEXT).unwrap();
    let declared = include_str!("parse/written.rs")
        .lines()
        .filter_map(|line| {
            line.trim().strip_prefix("pub(in crate::config) ")?.split_once(": Option<")
        })
        .map(|(key, _)| key);
    let missing: Vec<_> = declared.filter(|key| !set.contains_key(*key)).collect();
    assert_eq!(
        missing,
        [
            "docker_config",
            "http_proxy",
            "https_proxy",
            "no_proxy",
            "environment_files",
            "bridge",
            "subnet",
            "subnet6",
            "dynamic_ports"
        ],
        "the file shows every key, these as comments"
    );
}

#[test]
fn the_examples_in_comments_of_the_default_file_are_valid() {
    let text: String = DEFAULT_TEXT
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n");
    let config = load(&text, &[]).unwrap();
    assert_eq!(config.instance_attributes["rack"], "a1");
    let role = &config.roles["arn:aws:iam::123456789012:role/reader"];
    assert!(matches!(role, RoleSource::Command(command) if command.len() == 2));
    assert_eq!(config.roles.len(), 2);
    let registry = &config.registries["registry.example:5000"];
    assert_eq!(config.network.dynamic_ports, "32768-60999".parse().ok());
    assert!(registry.insecure && registry.mirrors.len() == 1 && registry.ca_file.is_some());
    assert!(registry.client_cert.is_some() && registry.client_key.is_some());
    assert_eq!(config.proxies.https.unwrap().to_string(), "proxy.example:3128");
    assert_eq!(config.proxies.exceptions.len(), 3);
}

#[test]
fn proxies_are_set_here_or_for_all_programs() {
    let proxies = |text: &str, variables: &[(&str, &str)]| {
        let proxies = load(text, variables).unwrap().proxies;
        let shown = |proxy: Option<Proxy>| proxy.map_or_else(String::new, |p| p.to_string());
        (shown(proxies.http), shown(proxies.https), proxies.exceptions.len())
    };
    let all = [
        ("http_proxy", "http://lower:1"),
        ("HTTP_PROXY", "http://upper:1"),
        ("HTTPS_PROXY", "http://secure:2/"),
        ("NO_PROXY", "localhost, a.example,10.*,*.b.example"),
    ];
    // What only others understand is left out.
    assert_eq!(proxies("", &all), ("lower:1".into(), "secure:2".into(), 3));
    let ours = "http_proxy = ''\nhttps_proxy = 'own:3'\nno_proxy = ''";
    assert_eq!(proxies(ours, &all), (String::new(), "own:3".into(), 0));
    let variable = [&all[..], &[("CORACLE_HTTPS_PROXY", "http://variable:4")]].concat();
    assert_eq!(proxies(ours, &variable), (String::new(), "variable:4".into(), 0));
    for (text, variables, expected) in [
        ("https_proxy = 'socks5://u:s3cret@h:1'", &[][..], "socks5 is not supported"),
        ("", &[("HTTPS_PROXY", "https://u:s3cret@h:1")][..], "HTTPS_PROXY"),
        ("no_proxy = 'a,10.*'", &[][..], "10.*"),
        ("[registries.'a.example']\nclient_cert = '/a'", &[][..], "go together"),
        ("[registries.'a.example']\nclient_cert = 'a'\nclient_key = '/b'", &[][..], "absolute"),
    ] {
        let error = refusal(text, variables);
        assert!(error.contains(expected) && !error.contains("s3cret"), "{error}");
    }
}

#[test]
fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
    let (_file, mut overrides) = file("cluster = 'file'\nregion = 'file'\nstate_dir = '/file'");
    let variables = environment(&[("CORACLE_CLUSTER", "variable"), ("CORACLE_REGION", "variable")]);
    overrides.cluster = Some("flag".to_owned());
    overrides.listen = Some("127.0.0.1:1".parse().unwrap());
    let config = Config::from_parts(&overrides, variables).unwrap();
    assert_eq!(config.cluster.as_str(), "flag");
    assert_eq!(config.scope.region, "variable");
    assert_eq!(config.state_dir, Path::new("/file"));
    assert_eq!(config.run_dir, Path::new("/run/coracle"));
    assert_eq!(config.listen.port(), 1);
}

#[test]
fn every_setting_but_registries_and_roles_can_be_a_variable() {
    let config = load(
        "",
        &[
            ("CORACLE_STATE_DIR", "/s"),
            ("CORACLE_RUN_DIR", "/r"),
            ("CORACLE_LISTEN", "[::1]:80"),
            ("CORACLE_SOCKET_GROUP", "crew"),
            ("CORACLE_CGROUP_PARENT", "/a.slice/b/"),
            ("CORACLE_REGION", "eu-central-1"),
            ("CORACLE_ACCOUNT", "123456789012"),
            ("CORACLE_CLUSTER", "edge"),
            ("CORACLE_IMAGE_PULL_BEHAVIOR", "once"),
            ("CORACLE_IMAGE_CLEANUP", "false"),
            ("CORACLE_IMAGE_CLEANUP_INTERVAL", "10m"),
            ("CORACLE_IMAGE_MINIMUM_AGE", "1m"),
            ("CORACLE_IMAGES_PER_CLEANUP", "7"),
            ("CORACLE_IMAGE_CLEANUP_UNTRACKED", "true"),
            ("CORACLE_IMAGE_DISK_HIGH", "90%"),
            ("CORACLE_IMAGE_DISK_LOW", "70"),
            ("CORACLE_PULL_BANDWIDTH", "2m"),
            ("CORACLE_CONCURRENT_LAYERS", "1"),
            ("CORACLE_CONTAINER_STOP_TIMEOUT", "1m30s"),
            ("CORACLE_STOPPED_TASK_RETENTION", "24h"),
            ("CORACLE_RESTART_EARLY_EXITS", "false"),
            ("CORACLE_STOPPED_TASKS_KEPT", "5"),
            ("CORACLE_RESERVED_PORTS", "[22, 80]"),
            ("CORACLE_RESERVED_PORTS_UDP", "53"),
            ("CORACLE_RESERVED_MEMORY", "64"),
            ("CORACLE_ALLOW_PRIVILEGED", "true"),
            ("CORACLE_LOG", "warn,coracle::engine=debug"),
            ("CORACLE_CONTAINER_LOG_MAX_SIZE", "512k"),
            ("CORACLE_CONTAINER_LOG_MAX_FILE", "7"),
            ("CORACLE_CONTAINER_LOG_MAX_AGE", "0"),
            ("CORACLE_CONTAINER_LOG_MAX_TOTAL", "0"),
            ("CORACLE_HTTP_PROXY", "proxy:1"),
            ("CORACLE_HTTPS_PROXY", "http://proxy:2"),
            ("CORACLE_NO_PROXY", "*"),
            ("CORACLE_DOCKER_CONFIG", "/d.json"),
            ("CORACLE_ENVIRONMENT_FILES", "/objects"),
            ("CORACLE_MANIFESTS", "/manifests"),
            ("CORACLE_IMAGES", "/images"),
            ("CORACLE_BRIDGE", "br-x"),
            ("CORACLE_SUBNET", "10.9.0.0/24"),
            ("CORACLE_SUBNET6", "fd09::/64"),
            ("CORACLE_DYNAMIC_PORTS", "40000-40999"),
            ("CORACLE_INSTANCE_ATTRIBUTES", "rack=a1,ssd"),
            ("CORACLE_CAPACITY_PROVIDER", "dock"),
            ("CORACLE_CAPACITY_PROVIDERS", "yard, dock"),
            ("CORACLE_ALLOW_INSTANCE_METADATA", "true"),
            ("CORACLE_DNS", "false"),
            ("CORACLE_DNS_DOMAIN", "Boxes.example."),
            ("CORACLE_DNS_SERVERS", "192.0.2.1, [fd00::1]:5353"),
            ("CORACLE_CORPUS", "/elsewhere"),
        ],
    )
    .unwrap();
    let expected = Config {
        state_dir: "/s".into(),
        run_dir: "/r".into(),
        listen: "[::1]:80".parse().unwrap(),
        socket_group: Some("crew".to_owned()),
        cgroup_parent: "a.slice/b".to_owned(),
        scope: Scope { region: "eu-central-1".to_owned(), account: "123456789012".to_owned() },
        cluster: ClusterName::new("edge").unwrap(),
        image_pull_behavior: PullBehavior::Once,
        image_cleanup: ImageCleanup {
            enabled: false,
            interval: Duration::from_mins(10),
            minimum_age: Duration::from_mins(1),
            per_cleanup: 7,
            untracked: true,
            disk_high: 90,
            disk_low: 70,
        },
        pull_bandwidth: 2 << 20,
        concurrent_layers: 1.try_into().unwrap(),
        container_stop_timeout: Duration::from_secs(90),
        stopped_task_retention: Duration::from_hours(24),
        restart_early_exits: false,
        stopped_tasks_kept: 5,
        reserved_ports: vec![22, 80],
        reserved_ports_udp: vec![53],
        reserved_memory: 64,
        allow_privileged: true,
        instance_attributes: [("rack", "a1"), ("ssd", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        capacity_provider: Some("dock".to_owned()),
        capacity_providers: ["dock", "yard"].map(str::to_owned).into(),
        log: "warn,coracle::engine=debug".parse().unwrap(),
        container_log: ContainerLog {
            max_size: 512 * 1024,
            max_file: 7,
            max_age: Duration::ZERO,
            max_total: 0,
        },
        stop_tasks_on_exit: false,
        registries: BTreeMap::new(),
        proxies: Proxies {
            http: Proxy::parse("proxy:1").ok(),
            https: Proxy::parse("proxy:2").ok(),
            exceptions: vec![Exception::All],
        },
        docker_config: "/d.json".into(),
        environment_files: Some("/objects".into()),
        manifests: "/manifests".into(),
        images: "/images".into(),
        fleet: crate::config::FleetSettings::default(),
        roles: BTreeMap::new(),
        names: NameSettings {
            dns: false,
            domain: "boxes.example".to_owned(),
            servers: vec!["192.0.2.1:53".parse().unwrap(), "[fd00::1]:5353".parse().unwrap()],
        },
        network: NetworkSettings {
            bridge: Some("br-x".to_owned()),
            subnet: "10.9.0.0/24".parse().ok(),
            subnet6: "fd09::/64".parse().ok(),
            dynamic_ports: "40000-40999".parse().ok(),
        },
        allow_instance_metadata: true,
        unknown_variables: vec!["CORACLE_CORPUS".to_owned()],
    };
    assert_eq!(config, expected);
}

#[test]
fn unknown_and_wrongly_typed_keys_are_refused_by_name() {
    assert!(refusal("stat_dir = '/x'", &[]).contains("stat_dir"));
    assert!(refusal("[registries.'r:5000']\ninsecur = true", &[]).contains("insecur"));
    assert!(refusal("stop_tasks_on_exit = true", &[]).contains("stop_tasks_on_exit"));
    assert!(refusal("reserved_ports = [70000]", &[]).contains("reserved_ports"));
    assert!(refusal("", &[("CORACLE_ALLOW_PRIVILEGED", "yes")]).contains("true or false"));
    assert!(refusal("log = ", &[]).contains("line 1"));
    assert!(refusal("image_disk_high = '0%'", &[]).contains("image_disk_high"));
    assert!(refusal("image_disk_high = '70%'\nimage_disk_low = '71%'", &[]).contains("70%"));
    assert_eq!(load("image_disk_high = '70'", &[]).unwrap().image_cleanup.disk_low, 70);
}

#[test]
fn values_that_make_no_sense_are_refused_with_their_origin() {
    for (key, value) in [
        ("listen", "localhost"),
        ("cgroup_parent", "../up"),
        ("cgroup_parent", ""),
        ("region", "EU"),
        ("account", "12"),
        ("cluster", "a b"),
        ("image_pull_behavior", "never"),
        ("pull_bandwidth", "1k"),
        ("pull_bandwidth", "fast"),
        ("container_stop_timeout", "0s"),
        ("container_stop_timeout", "30"),
        ("container_stop_timeout", "99999999999999999999h"),
        ("stopped_task_retention", "59m"),
        ("log", "inof"),
        ("log", "coracle=loud"),
        ("log", "5"),
        ("log", ""),
        ("capacity_provider", "FARGATE"),
        ("container_log_max_size", "10x"),
        ("container_log_max_size", "1"),
        ("container_log_max_age", "1m"),
        ("dns_domain", "a..b"),
        ("dns_domain", ""),
        ("dns_domain", "-a.b"),
    ] {
        let refused = refusal(&format!("{key} = {value:?}"), &[]);
        assert!(refused.contains(&format!("`{key}`")), "{refused}");
        assert!(refused.contains(&format!("{value:?}")), "{refused}");
        let variable = format!("CORACLE_{}", key.to_uppercase());
        let refused = refusal("", &[(&variable, value)]);
        assert!(refused.starts_with(&format!("{variable}: {value:?}")), "{refused}");
    }
    for (name, value) in [
        ("CORACLE_RESERVED_PORTS", "22,x"),
        ("CORACLE_RESERVED_MEMORY", "-1"),
        ("CORACLE_CONCURRENT_LAYERS", "0"),
        ("CORACLE_STOPPED_TASKS_KEPT", "many"),
        ("CORACLE_INSTANCE_ATTRIBUTES", "a=1,a=2"),
        ("CORACLE_INSTANCE_ATTRIBUTES", "a b=1"),
        ("CORACLE_DNS_SERVERS", "resolver.example"),
        ("CORACLE_DNS_SERVERS", "192.0.2.1:0"),
        ("CORACLE_DNS_SERVERS", "0.0.0.0"),
        ("CORACLE_CAPACITY_PROVIDERS", "dock,a b"),
    ] {
        assert!(refusal("", &[(name, value)]).starts_with(name));
    }
    assert!(refusal("container_log_max_file = 0", &[]).contains("container_log_max_file"));
    assert!(refusal("[instance_attributes]\n'a*' = ''", &[]).contains("instance_attributes"));
    let both = "capacity_provider = 'a'\n[instance_attributes]\n'coracle.capacity-provider' = 'b'";
    assert!(refusal(both, &[]).contains("set one of them"));
    assert!(refusal("capacity_providers = ['ecs-x']", &[]).contains("`capacity_providers`"));
}

#[test]
fn registries_are_named_as_in_images() {
    for good in ["r.example", "localhost:5000", "[::1]:5000", "10.0.0.1:443"] {
        load(&format!("[registries.'{good}']\nmirrors = ['http://m:1/', 'm']"), &[]).unwrap();
    }
    for bad in ["http://r", "r/path", "r:0", "r:x", "", "[::g]"] {
        assert!(refusal(&format!("[registries.{bad:?}]"), &[]).contains("registr"), "{bad}");
        let mirror = format!("[registries.r]\nmirrors = ['ftp://{bad}']");
        assert!(refusal(&mirror, &[]).contains("mirror"));
    }
}

#[test]
fn roles_are_arns_with_one_source() {
    let arn = "arn:aws:iam::123456789012:role/path/name";
    let entry = |text: &str| format!("[roles.'{arn}']\n{text}");
    let config = load(&entry("credentials_file = '/c'"), &[]).unwrap();
    let file = RoleSource::File { path: "/c".into(), profile: "default".to_owned() };
    assert_eq!(config.roles[arn], file);
    let both = format!("{}\n[roles.name]\ncommand = ['/a']", entry("credentials_file = '/c'"));
    let roles = load(&both, &[]).unwrap().roles;
    let by_name = RoleSource::Command(vec!["/a".to_owned()]);
    assert_eq!(role_source(&roles, arn), Some(&file));
    assert_eq!(role_source(&roles, "name"), Some(&by_name));
    assert_eq!(role_source(&roles, "arn:aws:iam::1:role/name"), Some(&by_name));
    assert_eq!(role_source(&roles, "arn:aws:iam::1:role/other"), None);
    for bad in [
        "",
        "profile = 'x'",
        "credentials_file = 'relative'",
        "command = []",
        "command = ['relative']",
        "command = ['/a']\nprofile = 'x'",
        "command = ['/a']\ncredentials_file = '/c'",
    ] {
        let refused = refusal(&entry(bad), &[]);
        assert!(refused.contains(&format!("`roles.\"{arn}\"`")), "{refused}");
    }
    assert!(refusal(&entry("secret_file = '/c'"), &[]).contains("secret_file"));
    for bad in [
        "a name",
        "a/name",
        "",
        "arn:aws:iam::1:user/x",
        "arn:aws:iam::1:role/",
        "arn:aws:s3::1:role/x",
    ] {
        let refused = refusal(&format!("[roles.'{bad}']\ncommand = ['/a']"), &[]);
        assert!(refused.contains("a role is named by its ARN"), "{refused}");
    }
}

#[test]
fn docker_credentials_are_looked_for_where_docker_does() {
    let at = |variables: &[(&str, &str)]| load("", variables).unwrap().docker_config;
    assert_eq!(at(&[]), Path::new("/root/.docker/config.json"));
    assert_eq!(at(&[("HOME", "/home/a")]), Path::new("/home/a/.docker/config.json"));
    let both = [("HOME", "/home/a"), ("DOCKER_CONFIG", "/etc/docker")];
    assert_eq!(at(&both), Path::new("/etc/docker/config.json"));
}

#[test]
fn a_named_file_must_exist_and_be_of_a_sensible_size() {
    let missing =
        Overrides { config: Some("/nonexistent/agent.toml".into()), ..Overrides::default() };
    let refused = Config::from_parts(&missing, []).unwrap_err();
    assert!(matches!(refused, ConfigError::Unreadable { .. }), "{refused}");
    let variables = environment(&[("CORACLE_CONFIG", "/nonexistent/agent.toml")]);
    let refused = Config::from_parts(&Overrides::default(), variables).unwrap_err();
    assert!(matches!(refused, ConfigError::Unreadable { .. }), "{refused}");
    let large = "#".repeat(usize::try_from(LARGEST_FILE).unwrap() + 1);
    assert!(matches!(load(&large, &[]).unwrap_err(), ConfigError::TooLarge { .. }));
}

#[test]
fn relative_directories_are_made_absolute() {
    let (_file, mut overrides) = file("");
    overrides.state_dir = Some("here".into());
    let config = Config::from_parts(&overrides, []).unwrap();
    assert_eq!(config.state_dir, std::env::current_dir().unwrap().join("here"));
}

#[test]
fn the_defaults_are_the_planners_own() {
    assert_eq!(Config::default().settings(None), Settings::default());
}
