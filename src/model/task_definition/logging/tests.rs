use super::*;
use crate::model::task_definition::Secret;

fn read(driver: &str, pairs: &[(&str, &str)]) -> Result<LogSettings, LogProblem> {
    LogSettings::read(Some(&configuration(driver, pairs)), &BTreeMap::new())
}

fn configuration(driver: &str, pairs: &[(&str, &str)]) -> LogConfiguration {
    LogConfiguration {
        log_driver: Some(driver.into()),
        options: Some(pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()),
        ..LogConfiguration::default()
    }
}

#[test]
fn without_a_configuration_output_stays_on_the_box() {
    let settings = LogSettings::read(None, &BTreeMap::new()).unwrap();
    assert_eq!(settings.driver, Driver::Local(None));
    assert_eq!(settings.local, Some(Local::default()));
    assert_eq!(settings.mode, Mode::NonBlocking(DEFAULT_BUFFER));
}

#[test]
fn sizes_counts_and_modes_are_read() {
    let file = read("json-file", &[("max-size", "2k"), ("max-file", "5")]).unwrap();
    assert_eq!(file.local, Some(Local { max_size: Some(2048), max_file: Some(5) }));
    let aws = read("awslogs", &[("mode", "blocking"), ("awslogs-group", "g")]).unwrap();
    assert_eq!(aws.mode, Mode::Blocking);
    let quiet = read("none", &[]).unwrap();
    assert_eq!((quiet.driver, quiet.local), (Driver::None, None));
    let small = read("syslog", &[("max-buffer-size", "1KB"), ("cache-disabled", "true")]).unwrap();
    assert_eq!((small.mode, small.local), (Mode::NonBlocking(1024), None));
    assert_eq!(values::size("1GB"), Some(1 << 30));
    assert_eq!(values::size("-1"), Some(0));
}

#[test]
fn what_cannot_be_carried_out_is_refused_by_name() {
    let cases: &[(&str, &str, &str, &str)] = &[
        ("json-file", "max-size", "big", "options.max-size"),
        ("json-file", "max-file", "0", "options.max-file"),
        ("json-file", "syslog-address", "udp://x", "options.syslog-address"),
        ("json-file", "tag", "{{.Secret}}", "options.tag"),
        ("json-file", "tag", "{{.ID", "options.tag"),
        ("json-file", "env-regex", "(", "options.env-regex"),
        ("json-file", "mode", "maybe", "options.mode"),
        ("json-file", "max-buffer-size", "x", "options.max-buffer-size"),
        ("none", "max-size", "1m", "options.max-size"),
        ("awslogs", "awslogs-create-group", "yes", "options.awslogs-create-group"),
        ("awslogs", "awslogs-multiline-pattern", "[", "options.awslogs-multiline-pattern"),
        ("syslog", "syslog-address", "tcp+tls://h:1", "options.syslog-address"),
        ("syslog", "syslog-address", "h:1", "options.syslog-address"),
        ("syslog", "syslog-address", "unix://relative", "options.syslog-address"),
        ("syslog", "syslog-address", "udp://h:0", "options.syslog-address"),
        ("syslog", "syslog-facility", "loud", "options.syslog-facility"),
        ("syslog", "syslog-format", "rfc1", "options.syslog-format"),
        ("syslog", "syslog-tls-key", "/key", "options.syslog-tls-key"),
        ("fluentd", "fluentd-address", "udp://h:1", "options.fluentd-address"),
        ("fluentd", "fluentd-request-ack", "true", "options.fluentd-request-ack"),
        ("gelf", "gelf-compression-level", "3", "options.gelf-address"),
        ("splunk", "splunk-token", "x", "logDriver"),
        ("awsfirelens", "Name", "x", "logDriver"),
    ];
    for (driver, name, value, member) in cases {
        let problem = read(driver, &[(name, value)]).unwrap_err();
        assert_eq!(problem.member, *member, "{driver} {name}={value}: {problem}");
    }
    let gelf = [("gelf-address", "tcp://h:1"), ("gelf-compression-type", "gzip")];
    assert_eq!(read("gelf", &gelf).unwrap_err().member, "options.gelf-compression-type");
}

#[test]
fn every_listed_option_has_a_value_that_is_taken() {
    let value = |name: &str| match name {
        "mode" => "blocking",
        "awslogs-format" => "json/emf",
        "max-file" | "cache-max-file" => "2",
        "syslog-address" => "udp://127.0.0.1:514",
        "syslog-facility" => "local3",
        "syslog-format" => "rfc5424micro",
        "fluentd-address" => "unix:///run/fluentd.sock",
        "gelf-compression-type" => "zlib",
        "fluentd-request-ack" => "false",
        "fluentd-retry-wait" | "fluentd-write-timeout" => "1s",
        "tag" => "a-{{.ID}}",
        _ => "1",
    };
    for (driver, options) in table::DRIVERS {
        for option in *options {
            let tcp = option.starts_with("gelf-tcp");
            let address = if tcp { "tcp://h:1" } else { "udp://h:1" };
            let mut pairs = vec![(*option, value(option))];
            if *driver == "gelf" {
                pairs.push(("gelf-address", address));
            }
            read(driver, &pairs).unwrap_or_else(|e| panic!("{driver} {option}: {e}"));
        }
    }
}

#[test]
fn a_secret_option_is_checked_by_name_first_and_by_value_later() {
    let mut gelf = configuration("gelf", &[]);
    let secret = |name: &str| Secret { name: Some(name.into()), value_from: Some("s".into()) };
    gelf.secret_options = Some(vec![secret("gelf-address")]);
    LogSettings::read(Some(&gelf), &BTreeMap::new()).unwrap();
    let bad = BTreeMap::from([("gelf-address".to_owned(), "hidden://x".to_owned())]);
    let problem = LogSettings::read(Some(&gelf), &bad).unwrap_err();
    assert!(!problem.to_string().contains("hidden"), "{problem}");
    let good = BTreeMap::from([("gelf-address".to_owned(), "tcp://h:9".to_owned())]);
    let settings = LogSettings::read(Some(&gelf), &good).unwrap();
    assert_eq!(settings.driver.address(), Some(Address::Tcp("h".into(), 9)));
    gelf.secret_options = Some(vec![secret("nonsense")]);
    let problem = LogSettings::read(Some(&gelf), &BTreeMap::new()).unwrap_err();
    assert_eq!(problem.member, "secretOptions.nonsense");
}

#[test]
fn addresses_are_read_with_their_defaults() {
    let address =
        |text: &str| read("syslog", &[("syslog-address", text)]).unwrap().driver.address().unwrap();
    assert_eq!(address("udp://[::1]"), Address::Udp("::1".into(), 514));
    assert_eq!(address("tcp://logs.example:6514/"), Address::Tcp("logs.example".into(), 6514));
    assert_eq!(address("unix:///dev/log"), Address::Unix("/dev/log".into()));
    assert!(
        matches!(read("syslog", &[]).unwrap().driver.address(), Some(Address::UnixDatagram(p)) if p[0] == "/dev/log")
    );
}

#[test]
fn tags_name_what_docker_names() {
    let subject = Subject {
        id: "0123456789ab".into(),
        full_id: "0123456789abcdef-1".into(),
        name: "ecs-web".into(),
        image_id: "sha256:0011223344556677".into(),
        image_name: "busybox:1\n".into(),
        ..Subject::default()
    };
    let tag = |text: &str| match read("journald", &[("tag", text)]).unwrap().driver {
        Driver::Journald(tag) => tag.render(&subject),
        other => panic!("{other:?}"),
    };
    assert_eq!(tag(""), "0123456789ab");
    assert_eq!(tag("x.{{.Name}}/{{ .FullID }}"), "x.ecs-web/0123456789abcdef-1");
    assert_eq!(
        tag("{{.ImageID}} {{.ImageFullID}} {{.ImageName}} {{.DaemonName}}"),
        "001122334455 sha256:0011223344556677 busybox:1 coracle"
    );
}

#[test]
fn variables_and_labels_are_chosen_by_name_and_pattern() {
    let options =
        [("env", "A, B"), ("env-regex", "^X_"), ("labels", "tier"), ("labels-regex", "^o")];
    let extra = read("json-file", &options).unwrap().extra;
    let labels = [("tier", "front"), ("other", "1"), ("none", "2"), ("A", "label")];
    let env = [("A", "1"), ("C", "2"), ("X_Y", "3")];
    let found = extra.of(labels.into_iter(), env.into_iter());
    let found: Vec<_> = found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(found, [("A", "1"), ("X_Y", "3"), ("other", "1"), ("tier", "front")]);
}
