//! Device rules on the unified hierarchy: a BPF program of type `CGROUP_DEVICE`, assembled here.
//!
//! The kernel runs it on every open and mknod of a device by the group. Rules are tried from the last to the
//! first; the first match decides; no match is a refusal.

use super::device::{DeviceRule, Kind};
use rustix::fs::{Mode, OFlags, open};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

/// One instruction of the kernel's BPF machine.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u8,
    /// Destination in the low, source in the high half.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const LOAD_WORD: u8 = 0x61;
const AND32_IMM: u8 = 0x54;
const SHIFT_RIGHT32_IMM: u8 = 0x74;
const MOVE32_REG: u8 = 0xbc;
const MOVE32_IMM: u8 = 0xb4;
const JUMP_NOT_EQUAL_IMM: u8 = 0x55;
const EXIT: u8 = 0x95;

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
/// Free once the context has been read.
const SCRATCH: u8 = 1;
const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// A finished program.
#[derive(Debug)]
pub(super) struct DeviceProgram(Vec<Instruction>);

const fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: to | from << 4, offset, immediate }
}

impl DeviceProgram {
    pub(super) fn new(rules: &[DeviceRule]) -> Self {
        let mut program = vec![
            instruction(LOAD_WORD, TYPE, CONTEXT, 0, 0),
            instruction(MOVE32_REG, ACCESS, TYPE, 0, 0),
            instruction(AND32_IMM, TYPE, 0, 0, 0xffff),
            instruction(SHIFT_RIGHT32_IMM, ACCESS, 0, 0, 16),
            instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
            instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
        ];
        for rule in rules.iter().rev() {
            program.extend(block(rule));
            if rule.decides_all() {
                // The kernel takes no instructions that cannot be reached.
                return Self(program);
            }
        }
        program.push(instruction(MOVE32_IMM, RESULT, 0, 0, 0));
        program.push(instruction(EXIT, 0, 0, 0, 0));
        Self(program)
    }

    /// Loads the program and attaches it to the group at `directory`.
    #[expect(unsafe_code, reason = "bpf(2) has no wrapper")]
    pub(super) fn attach(&self, directory: &Path) -> io::Result<()> {
        let group =
            open(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let license = c"Apache-2.0";
        let load = LoadAttributes {
            program_type: 15,
            instruction_count: u32::try_from(self.0.len()).map_err(io::Error::other)?,
            instructions: self.0.as_ptr() as u64,
            license: license.as_ptr() as u64,
            ..LoadAttributes::default()
        };
        // SAFETY: the attributes point to the program and the license, which outlive the call, and their size is given.
        let program = unsafe { bpf(5, (&raw const load).cast(), size_of::<LoadAttributes>()) }?;
        // SAFETY: the kernel has just returned this descriptor to us alone.
        let program = unsafe { OwnedFd::from_raw_fd(program) };
        let attach = AttachAttributes {
            target: group.as_raw_fd(),
            program: program.as_raw_fd(),
            attach_type: 6,
            // Others may have programs there or above; all of them must agree.
            flags: 2,
        };
        // SAFETY: plain numbers of the given size.
        unsafe { bpf(8, (&raw const attach).cast(), size_of::<AttachAttributes>()) }?;
        Ok(())
    }
}

/// The instructions of one rule: on a match return, else fall through.
fn block(rule: &DeviceRule) -> Vec<Instruction> {
    let mask = i32::from(rule.access.mknod)
        | i32::from(rule.access.read) << 1
        | i32::from(rule.access.write) << 2;
    let mut checks: Vec<Vec<Instruction>> = Vec::new();
    let not_equal = |register, value| vec![instruction(JUMP_NOT_EQUAL_IMM, register, 0, 0, value)];
    match rule.kind {
        Kind::All => {}
        Kind::Block => checks.push(not_equal(TYPE, 1)),
        Kind::Char => checks.push(not_equal(TYPE, 2)),
    }
    // An allowing rule must cover all that is asked for.
    if mask != 7 {
        checks.push(vec![
            instruction(MOVE32_REG, SCRATCH, ACCESS, 0, 0),
            instruction(AND32_IMM, SCRATCH, 0, 0, !mask & 7),
            instruction(JUMP_NOT_EQUAL_IMM, SCRATCH, 0, 0, 0),
        ]);
    }
    for (register, number) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
        if let Some(number) = number {
            checks.push(not_equal(register, number.cast_signed()));
        }
    }
    let mut block: Vec<Instruction> = checks.concat();
    block.push(instruction(MOVE32_IMM, RESULT, 0, 0, i32::from(rule.allow)));
    block.push(instruction(EXIT, 0, 0, 0, 0));
    let length = block.len();
    for (at, step) in block.iter_mut().enumerate() {
        if step.code == JUMP_NOT_EQUAL_IMM {
            step.offset = i16::try_from(length - at - 1).unwrap_or(i16::MAX);
        }
    }
    block
}

#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
}

#[repr(C)]
struct AttachAttributes {
    target: i32,
    program: i32,
    attach_type: u32,
    flags: u32,
}

/// # Safety
/// `attributes` must be valid for `size` bytes and for `command`.
#[expect(unsafe_code, reason = "bpf(2) has no wrapper")]
unsafe fn bpf(
    command: libc::c_int,
    attributes: *const libc::c_void,
    size: usize,
) -> io::Result<i32> {
    // SAFETY: by the contract of this function.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::super::device::Access;
    use super::*;

    /// Runs a program as the kernel would.
    fn run(program: &DeviceProgram, kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let context = [kind | access << 16, major, minor];
        let mut registers = [0_u32; 6];
        let mut at = 0;
        loop {
            let step = program.0[at];
            at += 1;
            let (to, from) = (usize::from(step.registers & 15), usize::from(step.registers >> 4));
            let immediate = step.immediate.cast_unsigned();
            match step.code {
                LOAD_WORD => {
                    registers[to] = context[usize::try_from(step.offset).unwrap() / 4];
                }
                AND32_IMM => registers[to] &= immediate,
                SHIFT_RIGHT32_IMM => registers[to] >>= immediate,
                MOVE32_REG => registers[to] = registers[from],
                MOVE32_IMM => registers[to] = immediate,
                JUMP_NOT_EQUAL_IMM if registers[to] != immediate => {
                    at += usize::try_from(step.offset).unwrap();
                }
                JUMP_NOT_EQUAL_IMM => {}
                EXIT => return registers[usize::from(RESULT)] != 0,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn nothing_stands_behind_a_rule_that_decides_all() {
        let program = DeviceProgram::new(&[
            DeviceRule::allow(Kind::Char, Some(1), Some(3), Access::ALL),
            DeviceRule::allow(Kind::All, None, None, Access::ALL),
        ]);
        assert!(run(&program, 1, 7, 8, 0));
        let exits = program.0.iter().filter(|step| step.code == EXIT).count();
        assert_eq!(exits, 1, "the kernel refuses what cannot be reached");
    }

    #[test]
    fn only_what_the_rules_allow_passes() {
        let read_only = Access { read: true, write: false, mknod: false };
        let program = DeviceProgram::new(&[
            DeviceRule::allow(Kind::Char, None, None, Access::MKNOD),
            DeviceRule::allow(Kind::Char, Some(1), Some(3), Access::ALL),
            DeviceRule::allow(Kind::Block, Some(8), Some(0), read_only),
        ]);
        let (mknod, read, write) = (1, 2, 4);
        assert!(run(&program, 2, read | write, 1, 3));
        assert!(run(&program, 2, mknod, 99, 99));
        assert!(!run(&program, 2, read, 1, 1));
        assert!(run(&program, 1, read, 8, 0));
        assert!(!run(&program, 1, read | write, 8, 0));
        assert!(!run(&program, 1, mknod, 8, 0));
        assert!(!run(&program, 1, read, 8, 1));
    }

    #[test]
    fn all_means_all() {
        let program = DeviceProgram::new(&[DeviceRule::allow(Kind::All, None, None, Access::ALL)]);
        assert!(run(&program, 1, 7, 8, 0));
        assert!(!run(&DeviceProgram::new(&[]), 2, 2, 1, 3));
    }

    /// On the real kernel, wherever a unified hierarchy is mounted.
    #[test]
    fn the_kernel_takes_the_program_and_obeys_it() {
        use super::super::mountinfo::cgroup_mounts;
        if !rustix::process::geteuid().is_root() {
            println!("skipped: must run as root");
            return;
        }
        let Some(mount) = cgroup_mounts().unwrap().into_iter().find(|m| m.unified) else {
            println!("skipped: no unified hierarchy is mounted");
            return;
        };
        let group = mount.mount_point.join(format!("coracle-device-test-{}", std::process::id()));
        std::fs::create_dir(&group).unwrap();
        let program = DeviceProgram::new(&[
            DeviceRule::allow(Kind::Char, Some(1), Some(3), Access::ALL),
            DeviceRule::allow(
                Kind::Char,
                Some(1),
                Some(5),
                Access { read: true, write: false, mknod: false },
            ),
        ]);
        let attached = program.attach(&group);
        let script = format!(
            "echo $$ >{}/cgroup.procs; (: </dev/null) && echo null; (: </dev/zero) && echo zero; \
             (: >/dev/zero) || echo no-write; (: </dev/random) || echo no-random",
            group.display()
        );
        let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
        // The shell has been reaped, so the group is empty.
        std::fs::remove_dir(&group).unwrap();
        attached.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text, "null\nzero\nno-write\nno-random\n");
    }
}
