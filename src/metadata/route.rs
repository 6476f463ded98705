//! What a path means.

/// The first parts of all paths that are served here.
const ROOTS: [&str; 5] = ["v1", "v2", "v3", "v4", "api"];

/// What is asked for; an `id` is as it was given, and nothing is checked yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// A container.
    Container { id: &'a str, version: Version },
    /// The task of a container.
    Task { id: &'a str, version: Version, tags: bool },
    /// What a container uses.
    Stats { id: &'a str },
    /// What the containers of a task use.
    TaskStats { id: &'a str },
    /// Credentials of a task's role.
    Credentials { id: &'a str },
    /// The protection of a task.
    Protection { id: &'a str },
    /// The agent, for programs on the box.
    Agent,
    /// All tasks, for programs on the box.
    Tasks,
}

/// The version of the metadata, for what differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Three,
    Four,
}

/// Whether `path` belongs to these endpoints, be there something or not.
#[must_use]
pub fn is_served(path: &str) -> bool {
    let first = path.strip_prefix('/').and_then(|rest| rest.split('/').next());
    first.is_some_and(|first| ROOTS.contains(&first))
}

/// The meaning of `path`, which is taken as it is: nothing in it is decoded or cleaned.
pub(super) fn parse(path: &str) -> Option<Route<'_>> {
    let mut parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    // One slash at the end is as good as none.
    parts.pop_if(|last| last.is_empty());
    let version = match parts.first()? {
        &"v3" => Version::Three,
        _ => Version::Four,
    };
    match *parts.as_slice() {
        ["v3" | "v4", id] => Some(Route::Container { id, version }),
        ["v3" | "v4", id, "task"] => Some(Route::Task { id, version, tags: false }),
        ["v3" | "v4", id, "taskWithTags"] => Some(Route::Task { id, version, tags: true }),
        ["v3" | "v4", id, "stats"] => Some(Route::Stats { id }),
        ["v3" | "v4", id, "task", "stats"] => Some(Route::TaskStats { id }),
        ["v2", "credentials"] => Some(Route::Credentials { id: "" }),
        ["v2", "credentials", id] => Some(Route::Credentials { id }),
        ["api", id, "task-protection", "v1", "state"] => Some(Route::Protection { id }),
        ["v1", "metadata"] => Some(Route::Agent),
        ["v1", "tasks"] => Some(Route::Tasks),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_as_they_are() {
        let four = Version::Four;
        assert_eq!(parse("/v4/x"), Some(Route::Container { id: "x", version: four }));
        assert_eq!(parse("/v4/x/"), Some(Route::Container { id: "x", version: four }));
        assert_eq!(parse("/v4/x/task"), Some(Route::Task { id: "x", version: four, tags: false }));
        assert_eq!(parse("/v3/x/task/stats"), Some(Route::TaskStats { id: "x" }));
        assert_eq!(parse("/v2/credentials/x"), Some(Route::Credentials { id: "x" }));
        assert_eq!(parse("/v2/credentials/"), Some(Route::Credentials { id: "" }));
        assert_eq!(parse("/v1/tasks"), Some(Route::Tasks));
        for bad in [
            "",
            "/",
            "v4/x",
            "/v4",
            "/v4/x/stats/more",
            "/v4/x//",
            "//v4/x/y",
            "/v4/x/../y/task",
            "/v5/x",
            "/v2/credentials/x/y",
            "/api/x/fault/v1/network-latency/start",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_ecs_api_is_not_served_here() {
        assert!(is_served("/v4/x/nonsense") && is_served("/api") && is_served("/v1/"));
        for other in ["/", "", "/coracle/v1/version", "/v44/x", "/apis/x"] {
            assert!(!is_served(other), "{other}");
        }
    }
}
