//! `placementStrategy`: in which order the boxes that fit are preferred.
//!
//! The rules are taken in turn: the second decides only among the boxes that are equal by the first. What all rules
//! leave equal goes to the box with most memory free, then most CPU, then by id; after `binpack` to that with least.

use crate::model::placement::PlacementStrategy;

/// How many rules there may be.
pub(super) const RULES_AT_MOST: usize = 5;

/// One rule of a strategy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rank {
    /// Few tasks of the group on the box.
    SpreadInstance,
    /// Few tasks of the group on all the boxes with the same value of this attribute; boxes without it count as one value.
    SpreadAttribute(String),
    /// Little memory free.
    BinpackMemory,
    /// Little CPU free.
    BinpackCpu,
    /// Any.
    Random,
}

/// Without a strategy: few tasks of the group, then much free.
const DEFAULT: [Rank; 1] = [Rank::SpreadInstance];

/// Reads `placementStrategy`. The error is for the caller, with InvalidParameterException.
pub(crate) fn ranks(strategy: &[PlacementStrategy]) -> Result<Vec<Rank>, String> {
    if strategy.len() > RULES_AT_MOST {
        return Err(format!("A task can have at most {RULES_AT_MOST} placement strategy rules."));
    }
    if strategy.is_empty() {
        return Ok(DEFAULT.to_vec());
    }
    strategy.iter().map(rank).collect()
}

fn rank(rule: &PlacementStrategy) -> Result<Rank, String> {
    let field = rule.field.as_deref().unwrap_or_default();
    match rule.kind.as_deref().unwrap_or_default() {
        "random" if field.is_empty() => Ok(Rank::Random),
        "random" => Err("random field should not be specified.".to_owned()),
        "binpack" if field.eq_ignore_ascii_case("memory") => Ok(Rank::BinpackMemory),
        "binpack" if field.eq_ignore_ascii_case("cpu") => Ok(Rank::BinpackCpu),
        "binpack" => Err(format!("Invalid field {field:?} for binpack: it is cpu or memory.")),
        "spread" if field.eq_ignore_ascii_case("instanceId") || field == "host" => {
            Ok(Rank::SpreadInstance)
        }
        "spread" => match field.strip_prefix("attribute:") {
            Some(name) if !name.is_empty() => Ok(Rank::SpreadAttribute(name.to_owned())),
            _ => Err(format!(
                "Invalid field {field:?} for spread: it is instanceId, host, or attribute: and a name."
            )),
        },
        other => Err(format!("Invalid type of placement strategy {other:?}.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rules: &[(&str, Option<&str>)]) -> Result<Vec<Rank>, String> {
        let rule = |(kind, field): &(&str, Option<&str>)| PlacementStrategy {
            kind: Some((*kind).to_owned()),
            field: field.map(str::to_owned),
        };
        ranks(&rules.iter().map(rule).collect::<Vec<_>>())
    }

    #[test]
    fn rules_are_read_in_order() {
        let zone = Rank::SpreadAttribute("ecs.availability-zone".to_owned());
        assert_eq!(
            read(&[
                ("spread", Some("attribute:ecs.availability-zone")),
                ("binpack", Some("MEMORY"))
            ]),
            Ok(vec![zone, Rank::BinpackMemory])
        );
        assert_eq!(
            read(&[("spread", Some("instanceId")), ("spread", Some("host")), ("random", None)]),
            Ok(vec![Rank::SpreadInstance, Rank::SpreadInstance, Rank::Random])
        );
        assert_eq!(read(&[("binpack", Some("cpu"))]), Ok(vec![Rank::BinpackCpu]));
        assert_eq!(read(&[]), Ok(vec![Rank::SpreadInstance]));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for bad in [
            &[("binpack", None)][..],
            &[("binpack", Some("disk"))],
            &[("spread", None)],
            &[("spread", Some("attribute:"))],
            &[("spread", Some("zone"))],
            &[("random", Some("cpu"))],
            &[("best", None)],
            &[("random", None); 6],
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
