//! Capacity providers: named pools of boxes.
//!
//! A box belongs to the pool that its attribute [`ATTRIBUTE`] names. There is no record of a pool: it is there when a
//! box belongs to it, or when the configuration lists its name.

/// The attribute that tells the pool of a box.
pub const ATTRIBUTE: &str = "coracle.capacity-provider";

/// The rule of [`is_name`], for messages.
pub const NAME_RULE: &str = "1 to 255 letters, numbers, hyphens and underscores, and it does not begin with aws, ecs or fargate";

/// True for what ECS takes for the name of a capacity provider that people make.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let begins =
        |prefix: &str| name.get(..prefix.len()).is_some_and(|p| p.eq_ignore_ascii_case(prefix));
    super::ids::is_name(name) && !["aws", "ecs", "fargate"].into_iter().any(begins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_amazon_are_taken() {
        assert!(is_name("dock-2_b"));
        for bad in ["", "FARGATE", "fargate_spot", "ecs-x", "AWSpool", "a b", &"x".repeat(256)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
