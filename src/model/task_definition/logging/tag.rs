//! Tags: texts with `{{.Name}}` and the like in them.

use super::LogProblem;
use super::values::{Values, problem};

/// What a template may name.
const FIELDS: [&str; 7] =
    ["ID", "FullID", "Name", "ImageID", "ImageFullID", "ImageName", "DaemonName"];

/// A template, known to be good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(String);

/// The container that a tag is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The beginning of the task's id, as tables show it.
    pub id: String,
    /// The id of the run.
    pub full_id: String,
    /// Task and container, readable.
    pub name: String,
    /// Digest of the image, `sha256:…`.
    pub image_id: String,
    /// The image as the definition names it.
    pub image_name: String,
    /// What is executed, for drivers that tell.
    pub command: String,
    /// Name of the box.
    pub host: String,
}

impl Tag {
    /// Reads the option `tag`; `{{.ID}}` without one.
    pub(super) fn read(values: &Values<'_>) -> Result<Self, LogProblem> {
        let tag = Self(values.text("tag").unwrap_or("{{.ID}}").to_owned());
        tag.expand(|_| Some(String::new())).map_err(|wrong| {
            problem(
                "tag",
                format!(
                    "{wrong} is not known: use {{{{.NAME}}}} with one of {}",
                    FIELDS.join(", ")
                ),
            )
        })?;
        Ok(tag)
    }

    /// The tag of a container.
    #[must_use]
    pub fn render(&self, subject: &Subject) -> String {
        let value = |field: &str| subject.get(field);
        // What is not known was refused when the template was read.
        let mut tag = self.expand(value).unwrap_or_else(|wrong| wrong);
        tag.retain(|c| !c.is_control());
        tag
    }

    /// Puts values for the fields; the error is what is none.
    fn expand(&self, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
        let mut text = String::new();
        let mut rest = self.0.as_str();
        while let Some((before, after)) = rest.split_once("{{") {
            text.push_str(before);
            let (inner, after) = after.split_once("}}").ok_or_else(|| format!("{{{{{after}"))?;
            let field = inner.trim().strip_prefix('.').filter(|field| FIELDS.contains(field));
            let value = field.and_then(&value);
            text.push_str(&value.ok_or_else(|| format!("{{{{{inner}}}}}"))?);
            rest = after;
        }
        text.push_str(rest);
        Ok(text)
    }
}

impl Subject {
    fn get(&self, field: &str) -> Option<String> {
        Some(match field {
            "ID" => self.id.clone(),
            "FullID" => self.full_id.clone(),
            "Name" => self.name.clone(),
            "ImageID" => {
                let digest = self.image_id.split_once(':').map_or(&*self.image_id, |(_, hex)| hex);
                digest.get(..12).unwrap_or(digest).to_owned()
            }
            "ImageFullID" => self.image_id.clone(),
            "ImageName" => self.image_name.clone(),
            "DaemonName" => "coracle".to_owned(),
            _ => return None,
        })
    }
}
