//! Instructions that make strings and numbers.

use super::super::error::{Problem, damaged};
use super::machine::Machine;
use super::source::Source;
use super::value::{Blob, Object, Value};

impl<S: Source> Machine<'_, S> {
    pub(super) fn string(&mut self, width: usize, text: bool) -> Result<(), Problem> {
        let len = self.length(width)?;
        let blob = self.source.blob(len)?;
        self.push_object(if text {
            Object::Text(blob)
        } else {
            Object::Bytes(blob)
        })
    }

    pub(super) fn text_line(&mut self) -> Result<String, Problem> {
        let line = self.source.line()?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Numbers of protocol 0, written as text.
    pub(super) fn number_line(&mut self) -> Result<(), Problem> {
        let line = self.text_line()?;
        let digits = line.trim().trim_end_matches('L');
        if digits == "00" || digits == "01" {
            return self.push(Value::Bool(digits == "01"));
        }
        if let Ok(number) = digits.parse::<i64>() {
            return self.push(Value::Int(number));
        }
        match digits.parse::<f64>() {
            Ok(number) => self.push(Value::Float(number)),
            Err(_) => damaged("its pickle has a number that is none"),
        }
    }

    /// Strings of protocol 0, quoted (`S`) or bare (`V`), with backslash escapes.
    pub(super) fn string_line(&mut self, unicode: bool) -> Result<(), Problem> {
        let mut line = self.source.line()?;
        if !unicode {
            let quote = line.first().copied();
            let closed = line.len() >= 2 && line.last().copied() == quote;
            if !closed || !matches!(quote, Some(b'\'' | b'"')) {
                return damaged("its pickle has a string without quotes");
            }
            line.pop();
            line.remove(0);
        }
        let bytes = unescape(&line, unicode);
        let blob = Blob::Memory(bytes.into());
        self.push_object(if unicode {
            Object::Text(blob)
        } else {
            Object::Bytes(blob)
        })
    }
}

/// Resolves backslash escapes: `\xNN` and friends of a byte string, `\uNNNN` of a text.
fn unescape(line: &[u8], unicode: bool) -> Vec<u8> {
    let hex = |at: usize, len: usize| {
        let digits = line.get(at..at + len)?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut out = Vec::with_capacity(line.len());
    let mut at = 0;
    while at < line.len() {
        let next = line.get(at + 1).copied();
        let (byte, used) = match (line[at], next) {
            (b'\\', Some(b'u')) if unicode => {
                let letter = hex(at + 2, 4)
                    .and_then(char::from_u32)
                    .unwrap_or('\u{fffd}');
                out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                at += 6;
                continue;
            }
            (b'\\', Some(b'x')) if !unicode => (hex(at + 2, 2).unwrap_or(0) as u8, 4),
            (b'\\', Some(b'n')) if !unicode => (b'\n', 2),
            (b'\\', Some(b'r')) if !unicode => (b'\r', 2),
            (b'\\', Some(b't')) if !unicode => (b'\t', 2),
            (b'\\', Some(escaped)) if !unicode => (escaped, 2),
            (byte, _) => (byte, 1),
        };
        out.push(byte);
        at += used;
    }
    out
}
