//! `DescribeServiceRevisions`.

use crate::api::error::ApiError;
use crate::api::{identifiers, input, render};
use crate::engine::Handle;
use crate::model::{Arn, Failure};
use serde::Deserialize;
use serde_json::{Value, json};

/// How many revisions one request may describe.
const REVISIONS_AT_MOST: usize = 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescribeServiceRevisions {
    service_revision_arns: Vec<String>,
}

/// `DescribeServiceRevisions`.
pub(crate) fn describe(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: DescribeServiceRevisions = input::read(input)?;
    if input.service_revision_arns.len() > REVISIONS_AT_MOST {
        return Err(ApiError::invalid(format!(
            "serviceRevisionArns cannot have more than {REVISIONS_AT_MOST} elements."
        )));
    }
    engine.read(|world| {
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for arn in &input.service_revision_arns {
            let Ok(Arn::ServiceRevision(service, id)) = Arn::parse(arn) else {
                return Err(identifiers::invalid_arn(arn));
            };
            let revision = world.service_revisions.get(&id).filter(|r| r.service == service);
            match revision {
                Some(revision) => {
                    found.push(render::service_revision::service_revision(world, revision));
                }
                None => failures
                    .push(Failure::missing(world.settings.scope.service_revision(&service, &id))),
            }
        }
        Ok(json!({ "serviceRevisions": found, "failures": failures }))
    })
}
