//! From ranges of numbers to a program of the kernel's classic BPF machine.

use super::profile::{REFUSED, Test, Verdict};
use super::table::{Architecture, Range};
use libc::sock_filter;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

const RETURN_ALLOW: u32 = 0x7fff_0000;
const RETURN_ERRNO: u32 = 0x0005_0000;

/// Where the kernel keeps what it asks about.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

type Program = Vec<sock_filter>;

pub(super) fn assemble(architectures: &[Architecture]) -> Program {
    let mut program = vec![step(LOAD, ARCHITECTURE)];
    for architecture in architectures {
        let mut section = vec![step(LOAD, NUMBER)];
        section.extend(search(&architecture.ranges));
        // A match skips the jump that leads to the next architecture.
        program.push(branch(JUMP_EQUAL, architecture.audit, 1, 0));
        program.push(step(JUMP, length(&section)));
        program.extend(section);
    }
    program.push(constant(REFUSED));
    program
}

/// A binary search for the number's range.
fn search(ranges: &[Range]) -> Program {
    match ranges {
        [] => vec![constant(REFUSED)],
        [range] => leaf(range.verdict),
        _ => {
            let (left, right) = ranges.split_at(ranges.len() / 2);
            let (low, high) = (search(left), search(right));
            let pivot = right[0].first;
            let mut program = match u8::try_from(low.len()) {
                Ok(distance) => vec![branch(JUMP_GREATER_OR_EQUAL, pivot, distance, 0)],
                // A branch reaches 255 steps; further only a jump does.
                Err(_) => {
                    vec![branch(JUMP_GREATER_OR_EQUAL, pivot, 0, 1), step(JUMP, length(&low))]
                }
            };
            program.extend(low);
            program.extend(high);
            program
        }
    }
}

fn leaf(verdict: Verdict) -> Program {
    let Verdict::Argument { index, test } = verdict else {
        return vec![constant(verdict)];
    };
    // Little-endian machines only: the low half comes first.
    let mut program = vec![step(LOAD, ARGUMENTS + 8 * u32::from(index))];
    let (values, if_equal, otherwise) = match test {
        Test::OneOf(values) => (values, Verdict::Allow, REFUSED),
        Test::NoneOf(values) => (values, REFUSED, Verdict::Allow),
        Test::Without(mask) => {
            program.push(step(AND, mask));
            (&[0][..], Verdict::Allow, REFUSED)
        }
    };
    for value in values {
        program.push(branch(JUMP_EQUAL, *value, 0, 1));
        program.push(constant(if_equal));
    }
    program.push(constant(otherwise));
    program
}

fn constant(verdict: Verdict) -> sock_filter {
    step(
        RETURN,
        match verdict {
            Verdict::Allow => RETURN_ALLOW,
            Verdict::Errno(number) => RETURN_ERRNO | u32::from(number),
            Verdict::Argument { .. } => RETURN_ERRNO | 1,
        },
    )
}

const fn step(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

const fn branch(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn length(program: &Program) -> u32 {
    u32::try_from(program.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::profile::UNKNOWN;
    use super::super::table::architectures;
    use super::*;
    use caps::{Capability, CapsHashSet};

    /// Runs a program as the kernel would; says in how many steps.
    fn run(program: &Program, audit: u32, number: u32, arguments: [u64; 6]) -> (u32, usize) {
        let mut data = [number, audit, 0, 0].to_vec();
        for argument in arguments {
            data.extend([(argument & 0xffff_ffff) as u32, (argument >> 32) as u32]);
        }
        let (mut accumulator, mut at, mut steps) = (0, 0, 0);
        loop {
            let s = program[at];
            at += 1;
            steps += 1;
            let jump = |taken: bool| usize::from(if taken { s.jt } else { s.jf });
            match s.code {
                LOAD => accumulator = data[s.k as usize / 4],
                AND => accumulator &= s.k,
                JUMP => at += s.k as usize,
                JUMP_EQUAL => at += jump(accumulator == s.k),
                JUMP_GREATER_OR_EQUAL => at += jump(accumulator >= s.k),
                RETURN => return (s.k, steps),
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    fn check_every_number(capabilities: &CapsHashSet) {
        let architectures = architectures(capabilities);
        let program = assemble(&architectures);
        assert!(program.len() < 4096, "{}", program.len());
        for architecture in &architectures {
            let top = architecture.ranges.last().unwrap().first & 0xffff;
            let numbers = (0..top + 2).chain((0..600).map(|n| n | 0x4000_0000));
            for number in numbers {
                let range = architecture.ranges.iter().rev().find(|r| r.first <= number).unwrap();
                let (result, steps) = run(&program, architecture.audit, number, [0; 6]);
                assert!(steps < 24, "{steps}");
                let expected = match range.verdict {
                    // All zeroes pass every test of the profile.
                    Verdict::Allow | Verdict::Argument { .. } => RETURN_ALLOW,
                    Verdict::Errno(errno) => RETURN_ERRNO | u32::from(errno),
                };
                assert_eq!(result, expected, "call {number} of {:#x}", architecture.audit);
            }
        }
        assert_eq!(run(&program, 0xdead_beef, 0, [0; 6]).0, RETURN_ERRNO | 1);
    }

    #[test]
    fn the_program_agrees_with_the_table() {
        check_every_number(&CapsHashSet::new());
        check_every_number(&[Capability::CAP_SYS_ADMIN].into_iter().collect());
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn arguments_are_looked_at() {
        use syscalls::x86_64::Sysno;
        let audit = 0xc000_003e;
        let none = CapsHashSet::new();
        let program = assemble(&architectures(&none));
        let call = |name: Sysno, first: u64| {
            run(&program, audit, name.id().cast_unsigned(), [first, 0, 0, 0, 0, 0]).0
        };
        let eperm = RETURN_ERRNO | 1;
        assert_eq!(call(Sysno::socket, 2), RETURN_ALLOW);
        assert_eq!(call(Sysno::socket, 40), eperm);
        // The kernel takes the domain as 32 bits; so does the filter.
        assert_eq!(call(Sysno::socket, 0x1_0000_0028), eperm);
        assert_eq!(call(Sysno::personality, 0xffff_ffff), RETURN_ALLOW);
        assert_eq!(call(Sysno::personality, 0x004_0000), eperm);
        assert_eq!(call(Sysno::clone, 0x11), RETURN_ALLOW);
        assert_eq!(call(Sysno::clone, 0x1000_0000), eperm);
        assert_eq!(call(Sysno::clone3, 0), RETURN_ERRNO | 0x26);
        assert_eq!(call(Sysno::unshare, 0), eperm);
        assert_eq!(call(Sysno::io_uring_setup, 0), eperm);
        assert_eq!(run(&program, audit, 5000, [0; 6]).0, RETURN_ERRNO | 0x26);
        assert_eq!(UNKNOWN, Verdict::Errno(38));
        let admin: CapsHashSet = [Capability::CAP_SYS_ADMIN].into_iter().collect();
        let program = assemble(&architectures(&admin));
        let unshare = Sysno::unshare.id().cast_unsigned();
        assert_eq!(run(&program, audit, unshare, [0; 6]).0, RETURN_ALLOW);
    }
}
