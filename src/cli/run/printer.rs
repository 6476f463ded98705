//! Shows output of containers: stdout to stdout, stderr to stderr, with the container's name when there are several.

use super::super::client::LogLine;
use std::collections::BTreeSet;
use std::io::{self, Write};

/// Prints log lines in the order they come.
#[derive(Debug)]
pub(in crate::cli) struct Printer {
    names: bool,
    times: bool,
    /// The (container, stream) whose last piece did not end its line: the next piece gets no prefix.
    open: BTreeSet<(String, String)>,
}

impl Printer {
    /// `names` and `times` are put before each line.
    pub(in crate::cli) fn new(names: bool, times: bool) -> Self {
        Self { names, times, open: BTreeSet::new() }
    }

    pub(in crate::cli) fn print(&mut self, line: &LogLine) -> io::Result<()> {
        let text = self.render(line);
        if line.stream == "stderr" {
            write_to(&mut io::stderr().lock(), &text)
        } else {
            write_to(&mut io::stdout().lock(), &text)
        }
    }

    fn render(&mut self, line: &LogLine) -> String {
        if !self.names && !self.times {
            return line.log.clone();
        }
        let stream = (line.container.clone(), line.stream.clone());
        let mut text = String::new();
        let continues = self.open.remove(&stream);
        if !continues {
            if self.times {
                text.push_str(&line.time);
                text.push(' ');
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

fn write_to(out: &mut impl Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(container: &str, log: &str) -> LogLine {
        LogLine {
            container: container.into(),
            stream: "stdout".into(),
            time: "2026-01-01T00:00:00Z".into(),
            log: log.into(),
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
}
