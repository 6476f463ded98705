//! The program of the built-in image `coracle/hello`: greets, shows its host name and arguments, and exits with the
//! code that `EXIT_CODE` names. It has no libc, so that `cargo` and a linker are all that building it takes.

#![no_std]
#![no_main]
#![no_builtins]

use core::arch::{asm, global_asm};
use core::panic::PanicInfo;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    exit(70)
}

// A standard library that was compiled from source refers to it; nothing unwinds.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

// The kernel enters with the stack pointer at argc; `start` wants that address as its only argument.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {start}",
    "ud2",
    start = sym start,
);
#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "bl {start}",
    "brk #1",
    start = sym start,
);
#[cfg(target_arch = "arm")]
global_asm!(
    ".globl _start",
    ".arm",
    "_start:",
    "mov fp, #0",
    "mov r0, sp",
    "bic sp, sp, #7",
    "bl {start}",
    "udf #0",
    start = sym start,
);

#[cfg(target_arch = "x86_64")]
mod number {
    pub const WRITE: usize = 1;
    pub const UNAME: usize = 63;
    pub const EXIT_GROUP: usize = 231;
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub const WRITE: usize = 64;
    pub const UNAME: usize = 160;
    pub const EXIT_GROUP: usize = 94;
}
#[cfg(target_arch = "arm")]
mod number {
    pub const WRITE: usize = 4;
    pub const UNAME: usize = 122;
    pub const EXIT_GROUP: usize = 248;
}

/// A system call with up to three arguments.
///
/// # Safety
/// Pointers among the arguments must be good for what the call does with them.
unsafe fn call(number: usize, a: usize, b: usize, c: usize) -> isize {
    let result: isize;
    // SAFETY: the registers are those of the kernel's calling convention; the caller answers for the arguments.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
            lateout("rcx") _, lateout("r11") _, options(nostack));
        #[cfg(target_arch = "aarch64")]
        asm!("svc #0", in("x8") number, inlateout("x0") a as isize => result, in("x1") b, in("x2") c,
            options(nostack));
        // r7 holds the number, but the compiler may keep it for itself (frame pointer in Thumb).
        #[cfg(target_arch = "arm")]
        asm!("mov {keep}, r7", "mov r7, {number}", "svc #0", "mov r7, {keep}",
            keep = out(reg) _, number = in(reg) number,
            inlateout("r0") a as isize => result, in("r1") b, in("r2") c, options(nostack));
    }
    result
}

fn exit(code: u8) -> ! {
    loop {
        // SAFETY: no pointers.
        unsafe { call(number::EXIT_GROUP, usize::from(code), 0, 0) };
    }
}

fn print(mut text: &[u8]) {
    while !text.is_empty() {
        // SAFETY: the buffer is valid for its length.
        let written = unsafe { call(number::WRITE, 1, text.as_ptr() as usize, text.len()) };
        match usize::try_from(written) {
            Ok(count) if count > 0 => text = text.get(count..).unwrap_or(&[]),
            // EINTR is -4: try again. Nobody is left to tell of anything else.
            _ if written == -4 => {}
            _ => return,
        }
    }
}

/// The bytes of a C string, without the NUL.
///
/// # Safety
/// `text` must point to a NUL-terminated string.
unsafe fn bytes<'a>(text: *const u8) -> &'a [u8] {
    let mut length = 0;
    // SAFETY: the caller promises a NUL before the end of the memory.
    unsafe {
        while *text.add(length) != 0 {
            length += 1;
        }
        core::slice::from_raw_parts(text, length)
    }
}

/// `EXIT_CODE`'s value when it is a number from 0 to 255.
fn code(text: &[u8]) -> Option<u8> {
    let mut value: u8 = 0;
    for digit in text {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(digit - b'0')?;
    }
    (!text.is_empty()).then_some(value)
}

unsafe extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: the kernel lays out argc, argv, NULL, envp, NULL at the entry stack pointer.
    unsafe {
        let count = *stack;
        let arguments = stack.add(1).cast::<*const u8>();
        let mut environment = arguments.add(count + 1);

        // struct utsname: six fields of 65 bytes; the second is the node name.
        let mut names = [0_u8; 6 * 65];
        call(number::UNAME, names.as_mut_ptr() as usize, 0, 0);
        names[129] = 0;
        print(b"Hello from Coracle!\nhostname: ");
        print(bytes(names.as_ptr().add(65)));
        print(b"\n");
        if count > 1 {
            print(b"arguments:");
            for index in 1..count {
                print(b" ");
                print(bytes(*arguments.add(index)));
            }
            print(b"\n");
        }

        while !(*environment).is_null() {
            if let Some(value) = bytes(*environment).strip_prefix(b"EXIT_CODE=") {
                match code(value) {
                    Some(value) => exit(value),
                    None => {
                        print(b"EXIT_CODE is not a number from 0 to 255\n");
                        exit(64)
                    }
                }
            }
            environment = environment.add(1);
        }
    }
    exit(0)
}

// What the tables of the core library's own code refer to on ARM; nothing unwinds here.
#[cfg(target_arch = "arm")]
#[unsafe(no_mangle)]
pub extern "C" fn __aeabi_unwind_cpp_pr0() {}
#[cfg(target_arch = "arm")]
#[unsafe(no_mangle)]
pub extern "C" fn __aeabi_unwind_cpp_pr1() {}

// The compiler may call these even when the source does not.

/// # Safety
/// As C's `memcpy`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller promises both ranges.
    unsafe {
        for index in 0..count {
            *to.add(index) = *from.add(index);
        }
    }
    to
}

/// # Safety
/// As C's `memset`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller promises the range.
    unsafe {
        for index in 0..count {
            *to.add(index) = value as u8;
        }
    }
    to
}

/// # Safety
/// As C's `memcmp`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    // SAFETY: the caller promises both ranges.
    unsafe {
        for index in 0..count {
            let (a, b) = (*one.add(index), *other.add(index));
            if a != b {
                return i32::from(a) - i32::from(b);
            }
        }
    }
    0
}

/// # Safety
/// As C's `bcmp`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    // SAFETY: the caller promises both ranges.
    unsafe { memcmp(one, other, count) }
}
