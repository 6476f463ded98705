//! A task protects itself while it must not be stopped by a scale-in or a deployment.

use super::Metadata;
use super::answer::{self, Answer};
use super::describe::time;
use crate::engine::SubmitError;
use crate::model::{Failure, TaskId};
use crate::plan::command::ProtectionAsker;
use crate::plan::{Command, CommandError, Reply, World};
use crate::sys;
use hyper::StatusCode;
use serde_json::{Value, json};

/// What a task asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    enabled: Option<bool>,
    minutes: Option<i64>,
}

impl Wish {
    /// Reads the members of the request, which ECS's agent takes in any case, and no others.
    fn parse(body: &[u8]) -> Option<Self> {
        let content: Value = serde_json::from_slice(body).ok()?;
        let mut wish = Self { enabled: None, minutes: None };
        for (name, value) in content.as_object()? {
            match name.to_ascii_lowercase().as_str() {
                _ if value.is_null() => {}
                "protectionenabled" => wish.enabled = Some(value.as_bool()?),
                "expiresinminutes" => wish.minutes = Some(value.as_i64()?),
                _ => return None,
            }
        }
        Some(wish)
    }
}

/// The answer to an ID that is none.
pub(super) fn unknown() -> Answer {
    let message = "Failed to find a task for the request";
    error(StatusCode::NOT_FOUND, None, "ResourceNotFoundException", message)
}

fn error(status: StatusCode, arn: Option<&str>, code: &str, message: &str) -> Answer {
    let mut error = json!({ "Code": code, "Message": message });
    if let Some(arn) = arn {
        error["Arn"] = json!(arn);
    }
    answer::json(status, &json!({ "error": error }))
}

impl Metadata {
    /// Sets what `body` asks for, if there is one, and tells how the task is protected.
    pub(super) async fn protection(&self, task: &TaskId, body: Option<&[u8]>) -> Answer {
        let Some(body) = body else { return self.engine.read(|world| shown(world, task)) };
        let invalid = |arn: Option<&str>, message: &str| {
            error(StatusCode::BAD_REQUEST, arn, "InvalidParameterException", message)
        };
        let Some(wish) = Wish::parse(body) else {
            return invalid(None, "UpdateTaskProtection: failed to decode request");
        };
        let found = self.engine.read(|world| {
            let task = world.tasks.get(task)?;
            Some((task.cluster.clone(), world.settings.scope.task(&task.cluster, &task.id)))
        });
        let Some((cluster, arn)) = found else { return unknown() };
        let Some(protected) = wish.enabled else {
            let message = "Invalid request: does not contain 'ProtectionEnabled' field";
            return invalid(Some(&arn), message);
        };
        let command = Command::UpdateTaskProtection {
            cluster,
            tasks: vec![task.clone()],
            protected,
            expires_in_minutes: wish.minutes,
            asked_by: ProtectionAsker::Task,
        };
        match self.engine.submit(command).await {
            Ok(Reply::Protection { failures, .. }) => match failures.first() {
                Some(failure) => failed(failure),
                None => self.engine.read(|world| shown(world, task)),
            },
            Ok(_) => {
                let message = "Unexpected error occurred";
                error(StatusCode::INTERNAL_SERVER_ERROR, Some(&arn), "ServerException", message)
            }
            Err(SubmitError::Refused(CommandError::InvalidParameter(message))) => {
                invalid(Some(&arn), &message)
            }
            Err(refused) => {
                let (status, message) = (StatusCode::INTERNAL_SERVER_ERROR, refused.to_string());
                error(status, Some(&arn), "ServerException", &message)
            }
        }
    }
}

/// The task cannot be protected any more; as in ECS that is no error of the request.
fn failed(failure: &Failure) -> Answer {
    let failure = json!({ "Arn": failure.arn, "Reason": failure.reason, "Detail": failure.detail });
    answer::json(StatusCode::OK, &json!({ "failure": failure }))
}

fn shown(world: &World, task: &TaskId) -> Answer {
    let Some(task) = world.tasks.get(task) else { return unknown() };
    let until = task.protection(sys::now());
    let protection = json!({
        "ExpirationDate": until.map(time),
        "ProtectionEnabled": until.is_some(),
        "TaskArn": world.settings.scope.task(&task.cluster, &task.id),
    });
    answer::json(StatusCode::OK, &json!({ "protection": protection }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_has_two_members() {
        let wish = |enabled, minutes| Some(Wish { enabled, minutes });
        assert_eq!(Wish::parse(br#"{"ProtectionEnabled":true}"#), wish(Some(true), None));
        let both = br#"{"protectionEnabled":false,"ExpiresInMinutes":5}"#;
        assert_eq!(Wish::parse(both), wish(Some(false), Some(5)));
        assert_eq!(Wish::parse(b"{}"), wish(None, None));
        let null = br#"{"ProtectionEnabled":true,"ExpiresInMinutes":null}"#;
        assert_eq!(Wish::parse(null), wish(Some(true), None));
        for bad in [
            "",
            "[]",
            "true",
            r#"{"ProtectionEnabled":"yes"}"#,
            r#"{"ExpiresInMinutes":1.5}"#,
            r#"{"ProtectionEnabled":true,"Color":"red"}"#,
        ] {
            assert_eq!(Wish::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
