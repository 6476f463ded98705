//! nftables, which publish ports and let containers out.

use super::Check;
use crate::doctor::feature::{Support, module, remedy};
use crate::doctor::finding::Finding;

pub(super) const CHECK: Check = Check::new(
    "nftables",
    "The kernel has nftables with NAT. Without it tasks in the network modes `bridge` and `awsvpc` do not start: no published ports, no way out; `host` and `none` work. Without its rules for bridges containers with CAP_NET_RAW can send in each other's names.",
    "`modprobe nf_tables`, or a kernel with CONFIG_NF_TABLES_INET, CONFIG_NF_TABLES_BRIDGE, CONFIG_NFT_NAT, CONFIG_NFT_MASQ, CONFIG_NFT_CT and CONFIG_NFT_BRIDGE_META.",
    |subject| {
        let found = MODULES.map(|name| (name, module(subject, name)));
        let bridged = module(subject, BRIDGED);
        let options = "CONFIG_NF_TABLES_INET, CONFIG_NF_TABLES_BRIDGE, CONFIG_NFT_NAT, CONFIG_NFT_MASQ, CONFIG_NFT_CT and CONFIG_NFT_BRIDGE_META";
        judge(&found, bridged, &remedy(subject, options))
    },
)
.of(super::Of::Box)
.at_leisure();

const MODULES: [&str; 5] = ["nf_tables", "nft_nat", "nft_masq", "nft_chain_nat", "nft_ct"];
/// Looks at what containers send each other. Networks work without it.
const BRIDGED: &str = "nft_meta_bridge";

fn judge(found: &[(&str, Support)], bridged: Support, remedy: &str) -> Finding {
    let missing: Vec<_> = found
        .iter()
        .filter(|(_, support)| *support == Support::Missing)
        .map(|(name, _)| *name)
        .collect();
    if !missing.is_empty() {
        let lost = "tasks in the network modes bridge and awsvpc do not start, for they have no published ports and no way out";
        return Finding::warning(
            format!("the kernel has no {}: {lost}", missing.join(", ")),
            remedy,
        );
    }
    if bridged == Support::Missing {
        return Finding::warning(
            format!(
                "the kernel has no {BRIDGED}: containers with CAP_NET_RAW can send in each other's names"
            ),
            remedy,
        );
    }
    match found.first() {
        Some((_, Support::Unknown)) | None => {
            Finding::skipped("the kernel does not tell whether it has nftables")
        }
        Some((_, Support::Loadable)) => {
            Finding::ok("nftables are modules, which are loaded when they are needed")
        }
        _ => Finding::ok("nftables are there"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    #[test]
    fn what_is_lost_is_named() {
        let all = |support| judge(&MODULES.map(|name| (name, support)), support, "mend");
        assert_eq!(all(Support::Present).status, Status::Ok);
        assert_eq!(all(Support::Loadable).status, Status::Ok);
        assert_eq!(all(Support::Unknown).status, Status::Skipped);
        let mut some = MODULES.map(|name| (name, Support::Present));
        some[2].1 = Support::Missing;
        let lost = judge(&some, Support::Missing, "mend");
        assert_eq!(lost.status, Status::Warning);
        assert!(lost.found.contains("no nft_masq: ") && lost.found.contains("published ports"));
        let all = MODULES.map(|name| (name, Support::Loadable));
        let lost = judge(&all, Support::Missing, "mend");
        assert_eq!(lost.status, Status::Warning);
        assert!(lost.found.contains("no nft_meta_bridge: ") && lost.found.contains("CAP_NET_RAW"));
    }
}
