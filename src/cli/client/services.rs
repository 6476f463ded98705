//! Services as DescribeServices shows them, and what files declare.

use super::super::manifest::Answer;
use super::{Client, Error, Lines, escaped, local};
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

/// As many as DescribeServices takes.
const DESCRIBE_LIMIT: usize = 10;

/// What an export answers.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Exported {
    pub(in crate::cli) text: String,
    pub(in crate::cli) warnings: Vec<String>,
}

impl Client {
    /// The services of one cluster, or of all, by cluster and name.
    pub(in crate::cli) async fn services(
        &self,
        cluster: Option<&str>,
    ) -> Result<Vec<Value>, Error> {
        let clusters = match cluster {
            Some(cluster) => vec![json!(cluster)],
            None => self.ecs_pages("ListClusters", json!({}), "clusterArns").await?,
        };
        let mut services = Vec::new();
        for cluster in clusters {
            let input = json!({ "cluster": cluster, "maxResults": 100 });
            let arns = self.ecs_pages("ListServices", input, "serviceArns").await?;
            for some in arns.chunks(DESCRIBE_LIMIT) {
                let input = json!({ "cluster": cluster, "services": some, "include": ["TAGS"] });
                let mut answer = self.ecs("DescribeServices", &input).await?;
                if let Some(Value::Array(more)) = answer.get_mut("services").map(Value::take) {
                    services.extend(more);
                }
            }
        }
        Ok(services)
    }

    /// The service `name` of `cluster`, deleted ones too while they are describable.
    pub(in crate::cli) async fn service(&self, cluster: &str, name: &str) -> Result<Value, Error> {
        let input = json!({ "cluster": cluster, "services": [name], "include": ["TAGS"] });
        let mut answer = self.ecs("DescribeServices", &input).await?;
        let service = answer.get_mut("services").and_then(|list| list.get_mut(0)).map(Value::take);
        let Some(service) = service else {
            return Err(Error::Refused(format!(
                "there is no service {name} in the cluster {cluster}: `coracle service ls` lists them"
            )));
        };
        Ok(service)
    }

    /// The service now and after every change, until it is INACTIVE.
    pub(in crate::cli) async fn watch_service(
        &self,
        cluster: &str,
        name: &str,
    ) -> Result<Lines, Error> {
        let path = format!(
            "/coracle/v1/services/watch?cluster={}&service={}",
            escaped(cluster),
            escaped(name)
        );
        self.stream(local(Method::GET, &path), String::new()).await
    }

    /// Has the agent make the world what files declare, or tell what that would change.
    pub(in crate::cli) async fn apply(&self, request: &Value) -> Result<Answer, Error> {
        let response =
            self.send(local(Method::POST, "/coracle/v1/manifests"), request.to_string()).await?;
        serde_json::from_value(self.whole(response).await?).map_err(Error::Shape)
    }

    /// What is there as a file.
    pub(in crate::cli) async fn export(
        &self,
        cluster: Option<&str>,
        format: &str,
    ) -> Result<Exported, Error> {
        let mut path = format!("/coracle/v1/manifests/export?format={format}");
        if let Some(cluster) = cluster {
            path.push_str("&cluster=");
            path.push_str(&escaped(cluster));
        }
        self.get(&path).await
    }

    /// Why the task or service that `name` means is as it is.
    pub(in crate::cli) async fn why(
        &self,
        cluster: Option<&str>,
        name: &str,
    ) -> Result<Value, Error> {
        let mut path = format!("/coracle/v1/why?of={}", escaped(name));
        if let Some(cluster) = cluster {
            path.push_str("&cluster=");
            path.push_str(&escaped(cluster));
        }
        self.get(&path).await
    }

    /// The boxes of one cluster, or of all.
    pub(in crate::cli) async fn nodes(&self, cluster: Option<&str>) -> Result<Value, Error> {
        let of = cluster.map(|name| format!("?cluster={}", escaped(name))).unwrap_or_default();
        self.get(&format!("/coracle/v1/nodes{of}")).await
    }

    /// One box; `this` is the one that is asked.
    pub(in crate::cli) async fn node(&self, id: &str) -> Result<Value, Error> {
        self.get(&format!("/coracle/v1/nodes/{}", escaped(id))).await
    }
}
