use super::*;
use crate::auth::{AccessKey, Keys};

const ROLE: &str = "arn:aws:iam::123456789012:role/reader";

fn endpoints(listen: Option<&str>) -> Endpoints {
    Endpoints {
        ids: EndpointIds::new(&Keys::with_root(AccessKey::generate())),
        listen: listen.map(|listen| listen.parse().unwrap()),
        roles: Roles([ROLE.to_owned(), "writer".to_owned()].into()),
        region: "eu-central-1".to_owned(),
    }
}

/// What a container is made of.
struct Given {
    task: TaskId,
    container: ContainerName,
    image: Vec<String>,
}

impl Given {
    fn new() -> Self {
        Self {
            task: TaskId::new("t").unwrap(),
            container: ContainerName::new("app").unwrap(),
            image: vec!["PATH=/bin".to_owned()],
        }
    }

    fn subject<'a>(&'a self, network: Option<&'a str>, role: Option<&'a str>) -> Subject<'a> {
        Subject {
            task: &self.task,
            container: &self.container,
            network,
            role,
            launch_type: "EC2",
            image: &self.image,
        }
    }
}

/// What a process sees: of two the later.
fn variables(
    endpoints: &Endpoints,
    subject: &Subject<'_>,
    own: &[(&str, &str)],
) -> Result<std::collections::BTreeMap<String, String>, EndpointError> {
    let mut environment: Vec<_> =
        own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    endpoints.announce(subject, &mut environment)?;
    Ok(environment.into_iter().collect())
}

#[test]
fn a_network_of_its_own_has_the_link_local_address() {
    let given = Given::new();
    let endpoints = endpoints(Some("127.0.0.1:51678"));
    for mode in ["bridge", "awsvpc"] {
        let own = [("ECS_AGENT_URI", "http://elsewhere"), ("AWS_DEFAULT_REGION", "mars")];
        let seen = variables(&endpoints, &given.subject(Some(mode), Some(ROLE)), &own).unwrap();
        let id = seen["ECS_CONTAINER_METADATA_URI_V4"].rsplit_once('/').unwrap().1.to_owned();
        assert_eq!(seen["ECS_CONTAINER_METADATA_URI_V4"], format!("http://169.254.170.2/v4/{id}"));
        assert_eq!(seen["ECS_CONTAINER_METADATA_URI"], format!("http://169.254.170.2/v3/{id}"));
        assert_eq!(seen["ECS_AGENT_URI"], format!("http://169.254.170.2/api/{id}"));
        assert!(seen["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"].starts_with("/v2/credentials/t-"));
        assert_eq!(seen["AWS_EXECUTION_ENV"], "AWS_ECS_EC2");
        assert_eq!(seen["AWS_DEFAULT_REGION"], "mars");
        assert!(!seen.contains_key("AWS_REGION"), "half a region is none");
        assert!(!seen.contains_key("AWS_CONTAINER_CREDENTIALS_FULL_URI"));
    }
}

#[test]
fn host_mode_has_the_loopback_address_of_the_api() {
    let given = Given::new();
    for listen in ["127.0.0.1:7", "0.0.0.0:7", "[::]:7"] {
        let seen =
            variables(&endpoints(Some(listen)), &given.subject(Some("host"), Some(ROLE)), &[])
                .unwrap();
        let full = &seen["AWS_CONTAINER_CREDENTIALS_FULL_URI"];
        assert!(full.starts_with("http://127.0.0.1:7/v2/credentials/t-"), "{full}");
        assert!(!seen.contains_key("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"));
        assert_eq!(seen["AWS_REGION"], "eu-central-1");
    }
    for listen in [None, Some("192.0.2.1:7")] {
        let endpoints = endpoints(listen);
        assert!(variables(&endpoints, &given.subject(Some("host"), None), &[]).unwrap().is_empty());
        let refused =
            variables(&endpoints, &given.subject(Some("host"), Some(ROLE)), &[]).unwrap_err();
        assert!(refused.to_string().contains("listen"), "{refused}");
    }
}

#[test]
fn without_a_network_nothing_is_announced() {
    let endpoints = endpoints(Some("127.0.0.1:7"));
    let seen = variables(&endpoints, &Given::new().subject(None, Some("unknown")), &[]);
    assert!(seen.unwrap().is_empty());
}

#[test]
fn a_role_without_an_entry_is_refused_by_name() {
    let given = Given::new();
    let endpoints = endpoints(Some("127.0.0.1:7"));
    for known in [ROLE, "writer", "arn:aws:iam::1:role/path/writer"] {
        assert!(
            variables(&endpoints, &given.subject(Some("bridge"), Some(known)), &[]).is_ok(),
            "{known}"
        );
    }
    for unknown in ["reader", "arn:aws:iam::1:role/reader", "arn:aws:iam::1:role/writer/x"] {
        let refused =
            variables(&endpoints, &given.subject(Some("bridge"), Some(unknown)), &[]).unwrap_err();
        assert_eq!(refused, EndpointError::UnknownRole(unknown.to_owned()));
        assert!(refused.to_string().contains(&format!("[roles.\"{unknown}\"]")));
    }
}
