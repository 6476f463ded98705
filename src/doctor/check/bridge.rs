//! Bridges and the links into containers.

use super::Check;
use crate::doctor::feature::{Support, module, remedy};
use crate::doctor::finding::Finding;

pub(super) const CHECK: Check = Check::new(
    "bridge",
    "The kernel has bridges and veth links. Without them tasks in the network modes `bridge` and `awsvpc` do not start; `host` and `none` work.",
    "`modprobe -a bridge veth`, or a kernel with CONFIG_BRIDGE and CONFIG_VETH.",
    |subject| {
        let found = ["bridge", "veth"].map(|name| (name, module(subject, name)));
        judge(&found, &remedy(subject, "CONFIG_BRIDGE and CONFIG_VETH"))
    },
)
.of(super::Of::Box)
.at_leisure();

fn judge(found: &[(&str, Support)], remedy: &str) -> Finding {
    let which = |support| {
        let those = found.iter().filter(move |(_, found)| *found == support);
        those.map(|(name, _)| *name).collect::<Vec<_>>().join(" and ")
    };
    let (missing, unknown) = (which(Support::Missing), which(Support::Unknown));
    if !missing.is_empty() {
        let lost = "tasks in the network modes bridge and awsvpc do not start";
        return Finding::warning(format!("the kernel has no {missing}: {lost}"), remedy);
    }
    if !unknown.is_empty() {
        return Finding::skipped(format!("the kernel does not tell whether it has {unknown}"));
    }
    Finding::ok("bridges and veth links are there")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    #[test]
    fn what_is_lost_is_named() {
        let both = |a, b| judge(&[("bridge", a), ("veth", b)], "mend");
        assert_eq!(both(Support::Present, Support::Loadable).status, Status::Ok);
        assert_eq!(both(Support::Present, Support::Unknown).status, Status::Skipped);
        let lost = both(Support::Unknown, Support::Missing);
        assert_eq!(lost.status, Status::Warning);
        assert!(lost.found.contains("no veth") && lost.found.contains("awsvpc"), "{lost:?}");
    }
}
