//! Expressions against one box, and against themselves.

use super::*;
use crate::model::container_instance::Attribute;
use proptest::prelude::*;

struct Box_ {
    attributes: Vec<Attribute>,
    groups: Vec<&'static str>,
}

impl Facts for Box_ {
    fn attributes(&self) -> impl Iterator<Item = &Attribute> {
        self.attributes.iter()
    }
    fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().copied()
    }
    fn agent_connected(&self) -> bool {
        true
    }
    fn agent_version(&self) -> &'static str {
        "1.68.2"
    }
    fn ec2_instance_id(&self) -> Option<&str> {
        None
    }
    fn registered_at(&self) -> Timestamp {
        // 2018-06-18T22:28:28.5Z
        Timestamp(1_529_360_908_500)
    }
    fn running_tasks(&self) -> u64 {
        2
    }
}

fn holds(text: &str) -> bool {
    let attribute = |name: &str, value: Option<&str>| Attribute {
        name: name.to_owned(),
        value: value.map(str::to_owned),
    };
    let harbour = Box_ {
        attributes: vec![
            attribute("site", Some("harbour")),
            attribute("ecs.cpu-architecture", Some("arm64")),
            attribute("ecs.instance-type", Some("g2.large")),
            attribute("cores", Some("4")),
            attribute("room", Some("engine \"B\" (low)")),
            attribute("firmware", Some("2.10.0")),
            attribute("camera", None),
        ],
        groups: vec!["family:web", "service:api"],
    };
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).holds(&harbour)
}

#[test]
fn tests_look_at_attributes_and_groups() {
    for yes in [
        "attribute:site == harbour",
        "attribute:site==harbour",
        "attribute:site equals 'harbour'",
        "attribute:site != airport",
        "attribute:site not_equals airport",
        "attribute:site in [airport, harbour]",
        "attribute:site not_in [airport,station]",
        "attribute:site !in [airport]",
        "attribute:camera exists",
        "attribute:gpu !exists",
        "attribute:gpu not_exists",
        "attribute:gpu != a10",
        "attribute:cores >= 4 and attribute:cores less_than 5",
        "attribute:cores greater_than 3.5 && attribute:cores less_than_equal 4.0",
        "attribute:firmware greater_than_equal 2.9.7",
        "attribute:ecs.cpu-architecture == arm64 && not(attribute:gpu exists)",
        "attribute:site == airport or (attribute:cores > 3 and attribute:camera exists)",
        "attribute:site == airport and attribute:cores > 3 || attribute:camera exists",
        r#"attribute:room == "engine \"B\" (low)""#,
        r#"attribute:room == 'engine "B" (low)'"#,
        r#"attribute:room in [bridge, "engine \"B\" (low)"]"#,
        "task:group == service:api",
        "task:group =~ service:.*",
        "!(task:group == service:other)",
        "task:group != service:other",
        "! ! task:group exists",
    ] {
        assert!(holds(yes), "{yes}");
    }
    for no in [
        "attribute:site == airport",
        "attribute:gpu == a10",
        "attribute:camera == \"\"",
        "attribute:site > 3",
        "attribute:cores > 4",
        "attribute:firmware < 2.9",
        "attribute:site == harbour and attribute:gpu exists",
        "not attribute:site exists",
        "task:group != service:api",
    ] {
        assert!(!holds(no), "{no}");
    }
}

#[test]
fn patterns_are_of_whole_values() {
    for yes in [
        "attribute:ecs.instance-type =~ g2.*",
        "attribute:ecs.instance-type =~ g[23]\\.(large|small) and attribute:site exists",
        "(attribute:ecs.instance-type =~ g2.*)",
        "attribute:site=~air.*|har.*||attribute:gpu exists",
        r#"attribute:ecs.instance-type matches "g2\.large""#,
        r#"attribute:room =~ ".*\(low\)""#,
        "attribute:ecs.instance-type !~ t2.*",
        "attribute:site not_matches har",
        "attribute:gpu !~ .*",
        "attribute:site =~ \"a|harbour\"",
    ] {
        assert!(holds(yes), "{yes}");
    }
    for no in ["attribute:site =~ arbo", "attribute:site =~ har", "attribute:camera =~ .*"] {
        assert!(!holds(no), "{no}");
    }
}

#[test]
fn tests_look_at_the_box_itself() {
    for yes in [
        "agentConnected == true",
        "agentConnected in [true, maybe]",
        "agentVersion == 1.68.2",
        "agentVersion >= 1.9",
        "agentVersion < 1.68.10",
        "agentVersion != 1.68.3",
        "ec2InstanceId != i-1234",
        "ec2InstanceId not_in [i-1]",
        "registeredAt >= 2018-06-18",
        "registeredAt < 2018-06-19",
        "registeredAt == 2018-06-18T22:28:28Z",
        "registeredAt == 2018-06-18T22:28:28",
        "registeredAt <= 2018-06-18T23:28:28+01:00",
        "runningTasksCount == 2",
        "runningTasksCount > 1 and runningTasksCount less_than 3",
    ] {
        assert!(holds(yes), "{yes}");
    }
    for no in [
        "agentConnected == false",
        "agentVersion > 1.68.2",
        "agentVersion > soon",
        "ec2InstanceId =~ i-.*",
        "registeredAt > 2018-06-18T22:28:28Z",
        "runningTasksCount == 0",
    ] {
        assert!(!holds(no), "{no}");
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    let deep = "(".repeat(500);
    let repeated = format!("attribute:site =~ {}", "((a{99}){99}){99}");
    for bad in [
        "",
        "attribute:site",
        "attribute:site ==",
        "attribute:site == \"harbour",
        "attribute: == x",
        "site == harbour",
        "attribute:site is harbour",
        "attribute:site !is harbour",
        "attribute:site in harbour",
        "attribute:site in [harbour",
        "attribute:site in []",
        "(attribute:site exists",
        "attribute:site exists)",
        "attribute:site exists attribute:gpu exists",
        "attribute:site =~",
        "attribute:site =~ (",
        "attribute:site =~ \"a)|(b\"",
        "attribute:site =~ [",
        "attribute:site !== harbour",
        "attribute:site exists and",
        "agentConnected > false",
        "agentVersion =~ 1.*",
        "agentVersion in [1.68.2]",
        "ec2InstanceId exists",
        "registeredAt > yesterday",
        "registeredAt > 2018-13-01",
        "runningTasksCount == few",
        "runningTasksCount exists",
        &repeated,
        &deep,
        &"x".repeat(5000),
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

/// Expressions as they can be written.
fn expressions() -> impl Strategy<Value = Expression> {
    let value = || "[ -~é]{0,12}";
    let subject =
        prop_oneof!["[a-zA-Z0-9._/-]{1,12}".prop_map(Subject::Attribute), Just(Subject::TaskGroup)];
    let comparison = prop::sample::select(vec![
        Comparison::Equal,
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
    ]);
    let operator = prop_oneof![
        (comparison, value())
            .prop_map(|(how, text)| Operator::Compare(how, super::Value { text, time: None })),
        prop::collection::vec(value(), 1..4).prop_map(Operator::In),
        Just(Operator::Exists),
        "[ -~]{1,12}".prop_filter_map("a pattern", |text| {
            Pattern::new(&text).ok().map(Operator::Matches)
        }),
    ];
    let test =
        (subject, operator).prop_map(|(subject, operator)| Expression::Test(subject, operator));
    test.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| Expression::Not(Box::new(inner))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expression::Any),
            prop::collection::vec(inner, 2..4).prop_map(Expression::All),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_is_too_much(text in r#"(attribute:[a-z]{1,3}|task:group|[ -~é"'\\]{0,6}|==|!|=~|in|and|or|\(|\)|\[|\]|,| ){0,24}"#) {
        if let Ok(expression) = parse(&text) {
            prop_assert_eq!(parse(&expression.to_string()), Ok(expression));
        }
    }

    #[test]
    fn what_is_printed_reads_the_same(expression in expressions()) {
        let text = expression.to_string();
        if text.len() <= 2000 {
            prop_assert_eq!(parse(&text), Ok(expression), "{}", text);
        }
    }
}
