//! Rules about which devices a container may open or make.

use std::fmt;

/// What kind of device a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    All,
    Block,
    Char,
}

/// What a rule is about: reading, writing, mknod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) mknod: bool,
}

impl Access {
    pub(crate) const ALL: Self = Self { read: true, write: true, mknod: true };
    pub(crate) const MKNOD: Self = Self { read: false, write: false, mknod: true };
}

/// One rule; the last one that matches decides, and nothing matching is a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceRule {
    pub(crate) allow: bool,
    pub(crate) kind: Kind,
    /// Any when absent.
    pub(crate) major: Option<u32>,
    /// Any when absent.
    pub(crate) minor: Option<u32>,
    pub(crate) access: Access,
}

impl DeviceRule {
    pub(crate) const fn allow(
        kind: Kind,
        major: Option<u32>,
        minor: Option<u32>,
        access: Access,
    ) -> Self {
        Self { allow: true, kind, major, minor, access }
    }

    /// True when it matches every access to every device.
    pub(crate) fn decides_all(&self) -> bool {
        self.kind == Kind::All
            && self.major.is_none()
            && self.minor.is_none()
            && self.access == Access::ALL
    }
}

/// The form that v1's `devices.allow` takes.
impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::All => return f.write_str("a"),
            Kind::Block => 'b',
            Kind::Char => 'c',
        };
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        for (set, letter) in
            [(self.access.read, "r"), (self.access.write, "w"), (self.access.mknod, "m")]
        {
            if set {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_read_as_the_kernel_wants_them() {
        let null = DeviceRule::allow(Kind::Char, Some(1), Some(3), Access::ALL);
        assert_eq!(null.to_string(), "c 1:3 rwm");
        let any = DeviceRule::allow(Kind::Block, None, None, Access::MKNOD);
        assert_eq!(any.to_string(), "b *:* m");
        let all = DeviceRule::allow(Kind::All, None, None, Access::ALL);
        assert_eq!(all.to_string(), "a");
    }
}
