//! Logins for registries.

use super::{Client, Error, local};
use hyper::Method;
use serde_json::Value;

impl Client {
    /// The logins of the box, without passwords.
    pub(in crate::cli) async fn list_logins(&self) -> Result<Value, Error> {
        self.get("/coracle/v1/registries").await
    }

    /// Has the agent log in or out.
    pub(in crate::cli) async fn registries(
        &self,
        what: &str,
        request: &Value,
    ) -> Result<Value, Error> {
        let path = format!("/coracle/v1/registries/{what}");
        let response = self.send(local(Method::POST, &path), request.to_string()).await?;
        self.whole(response).await
    }
}
