//! Shows output of containers: stdout to stdout, stderr to stderr, with the container's name when there are several.

use super::super::client::LogLine;
use super::super::output;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

/// Prints log lines in the order they come.
#[derive(Debug)]
pub(in crate::cli) struct Printer {
    tasks: bool,
    names: bool,
    times: bool,
    /// Which of stdout and stderr take no control characters.
    careful: [bool; 2],
    /// The (task, container, stream) whose last piece did not end its line: the next piece gets no prefix.
    open: BTreeSet<(String, String, String)>,
}

impl Printer {
    /// `names` and `times` are put before each line.
    pub(in crate::cli) fn new(names: bool, times: bool) -> Self {
        Self { tasks: false, names, times, careful: [false; 2], open: BTreeSet::new() }
    }

    /// The task is put before each line as well.
    pub(in crate::cli) fn of_several_tasks(times: bool) -> Self {
        Self { tasks: true, ..Self::new(true, times) }
    }

    /// Control characters other than colours are shown as text where a terminal would obey them.
    pub(in crate::cli) fn careful_with_terminals(mut self) -> Self {
        self.careful = [io::stdout().is_terminal(), io::stderr().is_terminal()];
        self
    }

    pub(in crate::cli) fn print(&mut self, line: &LogLine) -> Result<(), output::Unwritten> {
        let mut text = self.render(line);
        let error = line.stream == "stderr";
        if self.careful[usize::from(error)] {
            text = harmless(&text);
        }
        let written = if error {
            write_to(&mut io::stderr().lock(), &text)
        } else {
            write_to(&mut io::stdout().lock(), &text)
        };
        written.map_err(output::Unwritten)
    }

    fn render(&mut self, line: &LogLine) -> String {
        if !self.names && !self.times {
            return line.log.clone();
        }
        let stream = (line.task.clone(), line.container.clone(), line.stream.clone());
        let mut text = String::new();
        let continues = self.open.remove(&stream);
        if !continues {
            if self.times {
                text.push_str(&line.time);
                text.push(' ');
            }
            if self.tasks {
                text.push_str(output::short(&line.task));
                text.push('/');
            }
            if self.names {
                text.push_str(&line.container);
                text.push_str(" | ");
            }
        }
        text.push_str(&line.log);
        if !line.log.ends_with('\n') {
            self.open.insert(stream);
        }
        text
    }
}

/// `text` with control characters written out, but for tabs, ends of lines and colours.
fn harmless(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(colour) = colour(rest) {
            safe.push_str(colour);
            rest = &rest[colour.len()..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        let ends_line = c == '\r' && rest.starts_with('\n');
        if c.is_control() && !matches!(c, '\t' | '\n') && !ends_line {
            let _ = write!(safe, "{}", c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// The colour that `text` begins with: `ESC [`, digits and semicolons, `m`.
fn colour(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters[end..].starts_with('m').then(|| &text[..end + 3])
}

fn write_to(out: &mut impl Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(container: &str, log: &str) -> LogLine {
        LogLine {
            task: "0123456789abcdef".into(),
            container: container.into(),
            stream: "stdout".into(),
            time: "2026-01-01T00:00:00Z".into(),
            log: log.into(),
            note: None,
        }
    }

    #[test]
    fn one_container_is_shown_byte_for_byte() {
        let mut printer = Printer::new(false, false);
        assert_eq!(printer.render(&line("a", "half")), "half");
        assert_eq!(printer.render(&line("a", " line\n")), " line\n");
    }

    #[test]
    fn a_line_in_pieces_gets_one_prefix() {
        let mut printer = Printer::new(true, false);
        assert_eq!(printer.render(&line("a", "half")), "a | half");
        assert_eq!(printer.render(&line("b", "x\n")), "b | x\n");
        assert_eq!(printer.render(&line("a", " line\n")), " line\n");
        assert_eq!(printer.render(&line("a", "next\n")), "a | next\n");
    }

    #[test]
    fn times_come_first() {
        let mut printer = Printer::new(true, true);
        assert_eq!(printer.render(&line("a", "x\n")), "2026-01-01T00:00:00Z a | x\n");
    }

    #[test]
    fn several_tasks_are_told_apart() {
        let mut printer = Printer::of_several_tasks(false);
        assert_eq!(printer.render(&line("a", "x\n")), "0123456789ab/a | x\n");
    }

    #[test]
    fn a_terminal_gets_colours_but_no_commands() {
        assert_eq!(harmless("\u{1b}[1;31mred\u{1b}[0m\tx\r\n"), "\u{1b}[1;31mred\u{1b}[0m\tx\r\n");
        assert_eq!(
            harmless("\u{1b}]0;title\u{7}\u{1b}[2J\u{9b}31m\rover ü"),
            "\\u{1b}]0;title\\u{7}\\u{1b}[2J\\u{9b}31m\\rover ü"
        );
        assert_eq!(harmless("\u{1b}[31"), "\\u{1b}[31");
    }
}
