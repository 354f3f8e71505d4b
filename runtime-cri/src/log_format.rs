//! The format of container logs that runtimes write and kubelets read.

use jiff::Timestamp;
use std::{fmt, str::FromStr};

/// Which output of a process a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl LogStream {
    /// The name in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Whether a line of the log ends a line of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogTag {
    /// The output goes on in the next line of the log.
    Partial,
    /// The output had a line break here.
    Full,
}

/// One line of a log: `<time> <stream> <tag> <text>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// When it was written.
    pub time: Timestamp,
    /// Where it comes from.
    pub stream: LogStream,
    /// Whether it is a whole line.
    pub tag: LogTag,
    /// The output, without its line break; not always UTF-8.
    pub text: &'a [u8],
}

impl<'a> LogLine<'a> {
    /// Reads a line, with or without its line break; `None` when it is not of this format.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let mut field = || std::str::from_utf8(fields.next()?).ok();
        let time = Timestamp::from_str(field()?).ok()?;
        let stream = match field()? {
            "stdout" => LogStream::Stdout,
            "stderr" => LogStream::Stderr,
            _ => return None,
        };
        // More tags may follow the first one after a colon.
        let tag = match field()?.split(':').next()? {
            "P" => LogTag::Partial,
            "F" => LogTag::Full,
            _ => return None,
        };
        Some(Self { time, stream, tag, text: fields.next().unwrap_or_default() })
    }

    /// Appends the line with its line break.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.head().to_string().as_bytes());
        out.extend_from_slice(self.text);
        out.push(b'\n');
    }

    fn head(&self) -> impl fmt::Display {
        let tag = match self.tag {
            LogTag::Partial => 'P',
            LogTag::Full => 'F',
        };
        format!("{:.9} {} {tag} ", self.time, self.stream.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_as_they_are_read() {
        let text = b"2016-10-06T00:17:09.669794202Z stderr P The content \xff of it\n";
        let line = LogLine::parse(text).unwrap();
        assert_eq!((line.stream, line.tag), (LogStream::Stderr, LogTag::Partial));
        let mut out = Vec::new();
        line.write(&mut out);
        assert_eq!(out, text);
        let empty = LogLine::parse(b"2016-10-06T00:17:09Z stdout F ").unwrap();
        assert_eq!((empty.text, empty.tag), (&b""[..], LogTag::Full));
        assert_eq!(LogLine::parse(b"no log line"), None);
    }
}
