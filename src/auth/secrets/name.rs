//! Names, and what a `valueFrom` refers to.
//!
//! A box has one store, so the region and account of an ARN are not looked at: a definition brought from the cloud
//! finds the secret of that name. Secrets Manager appends six characters to a name in ARNs (`prod/db-AbCdEf`); a name is
//! looked for with and without them.
//!
//! | `valueFrom` | is looked for as |
//! | --- | --- |
//! | `arn:…:secretsmanager:…:secret:NAME-AbCdEf[:key:stage:id]` | secret `NAME-AbCdEf`, then secret `NAME` |
//! | `arn:…:ssm:…:parameter/PATH` | parameter `/PATH`, then parameter `PATH` |
//! | `NAME` | parameter `NAME`, then secret `NAME` |
//! | `NAME:key:stage:id` | secret `NAME` |

use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest name.
const LONGEST: usize = 512;

/// Which of Amazon's two stores a name is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Secrets Manager.
    Secret,
    /// SSM Parameter Store.
    Parameter,
}

/// The name of a secret or a parameter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Name {
    kind: Kind,
    name: String,
}

/// Why a text is not a name or a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the name or ARN of a secret or parameter: {rule}")]
pub struct NameError {
    /// What was given, shortened.
    pub text: String,
    /// What is wrong with it.
    pub rule: &'static str,
}

fn wrong(text: &str, rule: &'static str) -> NameError {
    NameError { text: text.chars().take(128).collect(), rule }
}

impl Name {
    pub(super) fn new(kind: Kind, name: &str) -> Result<Self, NameError> {
        let rule = match kind {
            Kind::Secret => "a secret's name has 1 to 512 letters, digits and / _ + = . @ -",
            Kind::Parameter => "a parameter's name has 1 to 512 letters, digits and / _ . -",
        };
        let extra = if kind == Kind::Secret { "/_+=.@-" } else { "/_.-" };
        let fits = |c: char| c.is_ascii_alphanumeric() || extra.contains(c);
        if (1..=LONGEST).contains(&name.len()) && name.chars().all(fits) {
            Ok(Self { kind, name: name.to_owned() })
        } else {
            Err(wrong(name, rule))
        }
    }

    /// What a person means: an ARN, a parameter's path (`/…`), or the name of a secret, of a parameter with `parameter`.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn parse(text: &str, parameter: bool) -> Result<Self, NameError> {
        if text.starts_with("arn:") {
            let reference = Reference::parse(text, Kind::Secret)?;
            if reference.selectors != Selectors::default() {
                return Err(wrong(
                    text,
                    "it names a JSON key, a stage or a version; leave that out",
                ));
            }
            return Ok(reference.meant);
        }
        let kind = if parameter || text.starts_with('/') { Kind::Parameter } else { Kind::Secret };
        Self::new(kind, text)
    }

    /// Secret or parameter.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The name alone.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The key in the store.
    pub(super) fn key(&self) -> String {
        match self.kind {
            Kind::Secret => format!("secret:{}", self.name),
            Kind::Parameter => format!("parameter:{}", self.name),
        }
    }

    /// What `coracle secret set` is given for it.
    #[must_use]
    pub fn argument(&self) -> String {
        match self.kind {
            Kind::Parameter if !self.name.starts_with('/') => format!("--ssm {}", self.name),
            _ => self.name.clone(),
        }
    }

    /// The resource part of its ARN, and the service before it.
    #[must_use]
    pub fn arn_parts(&self) -> (&'static str, String) {
        match self.kind {
            Kind::Secret => ("secretsmanager", format!("secret:{}", self.name)),
            Kind::Parameter => ("ssm", format!("parameter/{}", self.name.trim_start_matches('/'))),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind == Kind::Secret { "secret" } else { "parameter" };
        write!(f, "{kind} {}", self.name)
    }
}

/// What a `valueFrom` or a `credentialsParameter` refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    text: String,
    /// In the order in which they are looked for.
    names: Vec<Name>,
    /// The one of them to set when none is there.
    meant: Name,
    selectors: Selectors,
}

/// What follows the name of a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Selectors {
    json_key: Option<String>,
    stage: Option<String>,
    id: Option<String>,
}

impl Reference {
    /// Reads an ARN or a name; `plain` is the kind that a plain name means (of a parameter's name also a secret's, if
    /// there is no such parameter).
    ///
    /// # Errors
    /// [`NameError`].
    pub fn parse(text: &str, plain: Kind) -> Result<Self, NameError> {
        if let Some(rest) = text.strip_prefix("arn:") {
            return Self::parse_arn(text, rest);
        }
        let (name, selectors) = selectors(text, text)?;
        let secret = Name::new(Kind::Secret, name);
        let parameter = Name::new(Kind::Parameter, name).ok();
        let parameter = parameter.filter(|_| plain == Kind::Parameter && name == text);
        let (names, meant) = match parameter {
            Some(parameter) => (vec![parameter.clone(), secret?], parameter),
            // A secret may have a name that no parameter can.
            None => (vec![secret.clone()?], secret?),
        };
        Ok(Self { text: text.to_owned(), names, meant, selectors })
    }

    fn parse_arn(text: &str, rest: &str) -> Result<Self, NameError> {
        // partition, service, region, account, resource
        let parts: Vec<&str> = rest.splitn(5, ':').collect();
        let (Some(service), Some(resource)) = (parts.get(1), parts.get(4)) else {
            return Err(wrong(text, "an ARN is arn:partition:service:region:account:resource"));
        };
        let of = |prefix| resource.strip_prefix(prefix);
        let (names, meant, selectors) = match (*service, of("secret:"), of("parameter/")) {
            ("secretsmanager", Some(rest), _) => {
                let (name, selectors) = selectors(text, rest)?;
                let whole = Name::new(Kind::Secret, name)?;
                match without_suffix(name) {
                    None => (vec![whole.clone()], whole, selectors),
                    Some(name) => {
                        let short = Name::new(Kind::Secret, name)?;
                        (vec![whole, short.clone()], short, selectors)
                    }
                }
            }
            ("ssm", _, Some(path)) => {
                let path = path.trim_start_matches('/');
                let plain = Name::new(Kind::Parameter, path)?;
                let rooted = Name::new(Kind::Parameter, &format!("/{path}"))?;
                let meant = if path.contains('/') { &rooted } else { &plain }.clone();
                (vec![rooted, plain], meant, Selectors::default())
            }
            _ => {
                let rule =
                    "only secretsmanager (…:secret:NAME) and ssm (…:parameter/NAME) hold secrets";
                return Err(wrong(text, rule));
            }
        };
        Ok(Self { text: text.to_owned(), names, meant, selectors })
    }

    /// The names to look for, in this order.
    pub(super) fn names(&self) -> &[Name] {
        &self.names
    }

    /// The name to set when there is none of them.
    pub(super) fn meant(&self) -> &Name {
        &self.meant
    }

    pub(super) fn json_key(&self) -> Option<&str> {
        self.selectors.json_key.as_deref()
    }

    pub(super) fn stage(&self) -> Option<&str> {
        self.selectors.stage.as_deref()
    }

    pub(super) fn version_id(&self) -> Option<&str> {
        self.selectors.id.as_deref()
    }
}

/// Splits `NAME:json-key:version-stage:version-id`; `whole` is told when it is wrong.
fn selectors<'a>(whole: &str, text: &'a str) -> Result<(&'a str, Selectors), NameError> {
    let mut parts = text.split(':');
    let name = parts.next().unwrap_or_default();
    let given: Vec<&str> = parts.collect();
    let part = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    match given.as_slice() {
        [] => Ok((name, Selectors::default())),
        [key, stage, id] => {
            Ok((name, Selectors { json_key: part(key), stage: part(stage), id: part(id) }))
        }
        _ => Err(wrong(
            whole,
            "what follows the name is :json-key:version-stage:version-id, all three colons, each part may be empty",
        )),
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `prod/db` of `prod/db-AbCdEf`.
fn without_suffix(name: &str) -> Option<&str> {
    let (rest, suffix) = name.rsplit_once('-')?;
    let random = suffix.len() == 6 && suffix.chars().all(|c| c.is_ascii_alphanumeric());
    Some(rest).filter(|rest| random && !rest.is_empty())
}
