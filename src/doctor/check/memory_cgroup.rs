//! The memory controller, which the firmware of a Raspberry Pi switches off unless its command line says otherwise.

use super::Check;
use super::cgroups::Groups;
use crate::doctor::finding::Finding;
use crate::doctor::subject::Subject;

pub(super) const CHECK: Check = Check::new(
    "memory-cgroup",
    "Control groups limit memory. Without that no task starts. A Raspberry Pi has it only when its kernel's command line asks for it.",
    "Add `cgroup_enable=memory` to the one line of `/boot/firmware/cmdline.txt` (or `/boot/cmdline.txt`), take any `cgroup_disable=memory` away, reboot.",
    |subject| judge(&Reading::of(subject)),
)
.of(super::Of::Box);

struct Reading {
    /// Whether the controller is there.
    there: bool,
    /// Whether any hierarchy is.
    mounted: bool,
    /// Of the running kernel.
    command_line: String,
    /// The file that a Raspberry Pi boots with, and what is in it.
    boot_file: Option<(&'static str, String)>,
}

impl Reading {
    fn of(subject: &Subject) -> Self {
        let groups = Groups::of(subject);
        let file = subject.first(&["/boot/firmware/cmdline.txt", "/boot/cmdline.txt"]);
        let text = |path: &'static str| (path, subject.text(path).unwrap_or_default());
        Self {
            there: groups.has("memory"),
            mounted: groups != Groups::None,
            command_line: subject.text("/proc/cmdline").unwrap_or_default(),
            boot_file: file.map(text),
        }
    }
}

fn judge(reading: &Reading) -> Finding {
    const ENABLE: &str = "cgroup_enable=memory";
    if reading.there {
        return Finding::ok("the memory controller is there");
    }
    if !reading.mounted {
        return Finding::skipped("no control groups are mounted");
    }
    let takes_away = |text: &str| {
        let named = |word: &str| {
            word.strip_prefix("cgroup_disable=")
                .is_some_and(|l| l.split(',').any(|n| n == "memory"))
        };
        text.split_whitespace().any(named)
    };
    let disabled = takes_away(&reading.command_line);
    let why = if disabled { ": cgroup_disable=memory is on its command line" } else { "" };
    let found = format!("the kernel does not limit memory{why}; no task starts");
    let remedy = match &reading.boot_file {
        // What the firmware adds by itself comes before what the file has, which wins.
        Some((file, text)) if text.split_whitespace().any(|word| word == ENABLE) => {
            if takes_away(text) {
                format!("sudo sed -i 's/ *cgroup_disable=memory//' {file} && sudo reboot")
            } else {
                format!(
                    "{file} has {ENABLE} already: sudo reboot, if it was added since the last boot; else use a kernel with CONFIG_MEMCG"
                )
            }
        }
        Some((file, text)) => {
            let away = if takes_away(text) { "s/ *cgroup_disable=memory//; " } else { "" };
            format!("sudo sed -i '1{{{away}s/$/ {ENABLE}/}}' {file} && sudo reboot")
        }
        None if disabled => format!(
            "take cgroup_disable=memory off the kernel's command line (GRUB: in /etc/default/grub, then update-grub) and reboot; on a Raspberry Pi add {ENABLE} to the one line of /boot/firmware/cmdline.txt"
        ),
        None => format!(
            "use a kernel with CONFIG_MEMCG; on a Raspberry Pi mount its boot partition and add {ENABLE} to the one line of cmdline.txt"
        ),
    };
    Finding::error(found, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;
    use crate::doctor::subject::a_box;

    const MOUNT: (&str, &str) =
        ("/proc/self/mountinfo", "30 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");

    fn finding(controllers: &str, command_line: &str, boot: &[(&str, &str)]) -> Finding {
        let mut files = vec![
            MOUNT,
            ("/sys/fs/cgroup/cgroup.controllers", controllers),
            ("/proc/cmdline", command_line),
        ];
        files.extend(boot);
        (CHECK.run)(&a_box(&files).1)
    }

    #[test]
    fn with_the_controller_all_is_well() {
        assert_eq!(finding("cpu memory pids\n", "quiet", &[]).status, Status::Ok);
        assert_eq!((CHECK.run)(&a_box(&[]).1).status, Status::Skipped);
    }

    #[test]
    fn the_remedy_names_the_file_of_the_raspberry_pi() {
        let line = "console=tty1 root=PARTUUID=x rootwait\n";
        for file in ["/boot/firmware/cmdline.txt", "/boot/cmdline.txt"] {
            let found =
                finding("cpu pids\n", "cgroup_disable=memory console=tty1", &[(file, line)]);
            assert_eq!(found.status, Status::Error);
            let remedy = found.remedy.unwrap();
            let expected =
                format!("sudo sed -i '1{{s/$/ cgroup_enable=memory/}}' {file} && sudo reboot");
            assert_eq!(remedy, expected);
        }
        let both = [("/boot/firmware/cmdline.txt", line), ("/boot/cmdline.txt", line)];
        let remedy = finding("cpu pids\n", "", &both).remedy.unwrap();
        assert!(remedy.contains("/boot/firmware/cmdline.txt"), "{remedy}");
        let file = [("/boot/cmdline.txt", "a cgroup_disable=memory b cgroup_enable=memory\n")];
        let remedy = finding("cpu pids\n", "", &file).remedy.unwrap();
        assert!(remedy.contains("cgroup_disable=memory//"), "{remedy}");
        let file = [("/boot/cmdline.txt", "a cgroup_enable=memory\n")];
        assert!(finding("cpu pids\n", "", &file).remedy.unwrap().contains("CONFIG_MEMCG"));
    }

    /// The command of the remedy does what it says.
    #[test]
    fn the_command_of_the_remedy_works() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cmdline.txt");
        for text in ["console=tty1 rootwait\n", "console=tty1 cgroup_disable=memory rootwait"] {
            std::fs::write(&file, text).unwrap();
            let boot = [("/boot/cmdline.txt", text)];
            let remedy = finding("cpu\n", "", &boot).remedy.unwrap();
            let script = remedy.split('\'').nth(1).unwrap();
            let sed = std::process::Command::new("sed").arg("-i").arg(script).arg(&file).status();
            assert!(sed.unwrap().success());
            let after = std::fs::read_to_string(&file).unwrap();
            assert_eq!(after.trim(), "console=tty1 rootwait cgroup_enable=memory");
        }
    }

    #[test]
    fn elsewhere_the_boot_loader_is_named() {
        let remedy =
            finding("cpu pids\n", "root=/dev/vda cgroup_disable=memory", &[]).remedy.unwrap();
        assert!(remedy.contains("/etc/default/grub") && remedy.contains("cgroup_enable=memory"));
        assert!(finding("cpu pids\n", "quiet", &[]).remedy.unwrap().contains("CONFIG_MEMCG"));
    }
}
