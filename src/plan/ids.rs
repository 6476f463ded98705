//! A source of ids that is deterministic for a seed.

use crate::model::{
    ContainerInstanceId, DeploymentId, RuntimeId, ServiceDeploymentId, ServiceRevisionId, TaskId,
};

/// Mints ids. The shell seeds it from the system's random source, tests from a number.
#[derive(Debug, Clone)]
pub struct Ids {
    state: u128,
}

impl Ids {
    /// A source that will always mint the same ids for the same `seed`.
    #[must_use]
    pub const fn from_seed(seed: u128) -> Self {
        Self { state: seed }
    }

    /// 32 hexadecimal digits, ECS's form of ids.
    pub fn hex32(&mut self) -> String {
        format!("{:016x}{:016x}", self.next(), self.next())
    }

    /// A UUID of version 4.
    pub fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            (b >> 48) & 0x3fff | 0x8000,
            b & 0xffff_ffff_ffff
        )
    }

    /// A task's id.
    #[expect(clippy::missing_panics_doc, reason = "hexadecimal digits are a valid name")]
    #[expect(clippy::unwrap_used, reason = "hexadecimal digits are a valid name")]
    pub fn task(&mut self) -> TaskId {
        TaskId::new(self.hex32()).unwrap()
    }

    /// A container instance's id.
    #[expect(clippy::missing_panics_doc, reason = "hexadecimal digits are a valid name")]
    #[expect(clippy::unwrap_used, reason = "hexadecimal digits are a valid name")]
    pub fn container_instance(&mut self) -> ContainerInstanceId {
        ContainerInstanceId::new(self.hex32()).unwrap()
    }

    /// The id of one run of a container of `task`: ECS's `TASK-NUMBER`.
    #[expect(clippy::missing_panics_doc, reason = "hexadecimal digits are a valid name")]
    #[expect(clippy::unwrap_used, reason = "hexadecimal digits are a valid name")]
    pub fn runtime(&mut self, task: &TaskId) -> RuntimeId {
        RuntimeId::new(format!("{task}-{:010}", self.next() % 10_000_000_000)).unwrap()
    }

    /// A number, for what may be chosen at random.
    pub(crate) fn number(&mut self) -> u64 {
        self.next()
    }

    /// The id of a deployment: nineteen digits.
    #[expect(clippy::missing_panics_doc, reason = "digits are a valid name")]
    #[expect(clippy::unwrap_used, reason = "digits are a valid name")]
    pub fn deployment(&mut self) -> DeploymentId {
        DeploymentId::new(self.digits19()).unwrap()
    }

    /// The id of a service revision: nineteen digits.
    #[expect(clippy::missing_panics_doc, reason = "digits are a valid name")]
    #[expect(clippy::unwrap_used, reason = "digits are a valid name")]
    pub fn service_revision(&mut self) -> ServiceRevisionId {
        ServiceRevisionId::new(self.digits19()).unwrap()
    }

    /// The id of a service deployment: twenty-one letters and digits.
    #[expect(clippy::missing_panics_doc, reason = "letters and digits are a valid name")]
    #[expect(clippy::unwrap_used, reason = "letters and digits are a valid name")]
    pub fn service_deployment(&mut self) -> ServiceDeploymentId {
        const SIGNS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let mut sign = || {
            let at = usize::try_from(self.next() % 62).unwrap_or(0);
            char::from(SIGNS[at])
        };
        ServiceDeploymentId::new((0..21).map(|_| sign()).collect::<String>()).unwrap()
    }

    fn digits19(&mut self) -> String {
        const LEAST: u64 = 1_000_000_000_000_000_000;
        (LEAST + self.next() % (9 * LEAST)).to_string()
    }

    /// splitmix64 over both halves of the state.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        #[expect(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
        let mut z = (self.state as u64) ^ ((self.state >> 64) as u64);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
