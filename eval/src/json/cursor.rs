//! A position in JSON text that moves over one value at a time.

use std::borrow::Cow;

use memchr::{memchr2, memchr3};

use super::number::{self, Number};

/// Where the text stops being JSON, or stops being what the caller asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JsonError {
    /// Byte offset within the text at hand.
    pub at: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The text ends in the middle of a value.
    End,
    /// Not JSON: what should stand there.
    Syntax(&'static str),
    /// JSON, but not what belongs there: a whole sentence part.
    Meaning(String),
}

type Result<T> = std::result::Result<T, JsonError>;

/// A position in a text.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At an offset of a text.
    pub(crate) fn new(text: &'a [u8], at: usize) -> Self {
        Self { text, at }
    }

    /// The offset.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Goes to an offset.
    pub(crate) fn seek(&mut self, at: usize) {
        self.at = at;
    }

    /// An error at the present place; or at the text's end, where that is the problem.
    pub(crate) fn error(&self, problem: Problem) -> JsonError {
        let at = match problem {
            Problem::End => self.text.len(),
            _ => self.at,
        };
        JsonError { at, problem }
    }

    /// An error about the meaning of what stands here.
    pub(crate) fn meaning(&self, sentence: impl Into<String>) -> JsonError {
        self.error(Problem::Meaning(sentence.into()))
    }

    fn syntax<T>(&self, wanted: &'static str) -> Result<T> {
        Err(self.error(if self.at >= self.text.len() {
            Problem::End
        } else {
            Problem::Syntax(wanted)
        }))
    }

    /// The next byte that is no white space, without passing it.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.get(self.at)?;
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// Passes `byte` where it comes next.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Passes `byte`, which must come next.
    #[inline]
    pub(crate) fn expect(&mut self, byte: u8, wanted: &'static str) -> Result<()> {
        if self.take(byte) {
            Ok(())
        } else {
            self.syntax(wanted)
        }
    }

    /// Passes an object, calling `field` at each value; it must pass the value.
    #[inline]
    pub(crate) fn object(
        &mut self,
        mut field: impl FnMut(&[u8], &mut Self) -> Result<()>,
    ) -> Result<()> {
        self.expect(b'{', "an object")?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let key = self.key()?;
            self.expect(b':', "a colon")?;
            field(&key, self)?;
            if self.take(b'}') {
                return Ok(());
            }
            self.expect(b',', "a comma or the end of the object")?;
        }
    }

    /// Passes an array, calling `element` at each value; it must pass the value.
    #[inline]
    pub(crate) fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.expect(b'[', "an array")?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            element(self)?;
            if self.take(b']') {
                return Ok(());
            }
            self.expect(b',', "a comma or the end of the array")?;
        }
    }

    /// Passes a number.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<Number> {
        self.peek();
        match number::parse(&self.text[self.at..]) {
            Some((number, length)) => {
                self.at += length;
                Ok(number)
            }
            None => self.number_error(),
        }
    }

    /// A number cut off by the end of the text is an end, not a mistake in writing.
    #[cold]
    fn number_error<T>(&self) -> Result<T> {
        let rest = &self.text[self.at..];
        let possible = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        let cut = rest.iter().all(possible)
            || [&b"NaN"[..], b"Infinity", b"-Infinity"]
                .iter()
                .any(|word| word.starts_with(rest));
        Err(self.error(if cut {
            Problem::End
        } else {
            Problem::Syntax("a number")
        }))
    }

    /// Passes a string that is likely short: looking at its bytes one by one is then quickest.
    #[inline]
    fn key(&mut self) -> Result<Cow<'a, [u8]>> {
        const SHORT: usize = 16;
        if self.peek() == Some(b'"') {
            let start = self.at + 1;
            let rest = &self.text[start..];
            for (length, &byte) in rest.iter().take(SHORT).enumerate() {
                if byte == b'"' {
                    self.at = start + length + 1;
                    return Ok(Cow::Borrowed(&rest[..length]));
                }
                if byte == b'\\' {
                    break;
                }
            }
        }
        self.string()
    }

    /// Passes a string; its bytes, escapes resolved. They need not be UTF-8.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Cow<'a, [u8]>> {
        self.expect(b'"', "a string")?;
        let start = self.at;
        match memchr2(b'"', b'\\', &self.text[start..]) {
            Some(length) if self.text[start + length] == b'"' => {
                self.at = start + length + 1;
                Ok(Cow::Borrowed(&self.text[start..start + length]))
            }
            Some(length) => self.escaped(start, length).map(Cow::Owned),
            None => {
                self.at = self.text.len();
                Err(self.error(Problem::End))
            }
        }
    }

    /// The rest of a string whose first backslash stands `plain` bytes after `start`.
    fn escaped(&mut self, start: usize, plain: usize) -> Result<Vec<u8>> {
        let mut out = self.text[start..start + plain].to_vec();
        self.at = start + plain;
        loop {
            let Some(length) = memchr2(b'"', b'\\', &self.text[self.at..]) else {
                self.at = self.text.len();
                return Err(self.error(Problem::End));
            };
            out.extend_from_slice(&self.text[self.at..self.at + length]);
            self.at += length + 1;
            if self.text[self.at - 1] == b'"' {
                return Ok(out);
            }
            let Some(&byte) = self.text.get(self.at) else {
                return Err(self.error(Problem::End));
            };
            self.at += 1;
            out.push(match byte {
                b'"' | b'\\' | b'/' => byte,
                b'b' => 8,
                b'f' => 12,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'u' => {
                    let symbol = self.unicode()?;
                    out.extend_from_slice(symbol.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
                _ => {
                    self.at -= 1;
                    return self.syntax("an escape that JSON knows");
                }
            });
        }
    }

    /// Four hexadecimal digits, or two such groups that make one symbol.
    fn unicode(&mut self) -> Result<char> {
        let mut group = || -> Result<u32> {
            let Some(digits) = self.text.get(self.at..self.at + 4) else {
                self.at = self.text.len();
                return Err(self.error(Problem::End));
            };
            let value = std::str::from_utf8(digits)
                .ok()
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))
                .and_then(|text| u32::from_str_radix(text, 16).ok());
            match value {
                Some(value) => {
                    self.at += 4;
                    Ok(value)
                }
                None => self.syntax("four hexadecimal digits"),
            }
        };
        let first = group()?;
        if (0xd800..0xdc00).contains(&first) && self.text[self.at..].starts_with(b"\\u") {
            let before = self.at;
            self.at += 2;
            let group = || -> Option<u32> {
                let digits = std::str::from_utf8(self.text.get(self.at..self.at + 4)?).ok()?;
                u32::from_str_radix(digits, 16).ok()
            };
            if let Some(second) = group().filter(|second| (0xdc00..0xe000).contains(second)) {
                self.at += 4;
                let symbol = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(symbol).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = before;
        }
        // Half of a pair alone is no symbol.
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// Passes one of `true`, `false`, `null`.
    pub(crate) fn word(&mut self) -> Result<Option<bool>> {
        self.peek();
        let rest = &self.text[self.at..];
        for (word, value) in [
            (&b"true"[..], Some(true)),
            (b"false", Some(false)),
            (b"null", None),
        ] {
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
            if word.starts_with(rest) {
                return Err(self.error(Problem::End));
            }
        }
        self.syntax("a value")
    }

    /// Passes a value whatever it is. Brackets of its own kind and strings are looked at; what else
    /// stands in an array or object is not checked.
    pub(crate) fn skip(&mut self) -> Result<()> {
        match self.peek() {
            Some(b'"') => self.skip_string(),
            Some(b'[') => self.skip_nested(b'[', b']'),
            Some(b'{') => self.skip_nested(b'{', b'}'),
            Some(b't' | b'f' | b'n') => self.word().map(drop),
            _ => self.number().map(drop),
        }
    }

    fn skip_string(&mut self) -> Result<()> {
        self.at += 1;
        loop {
            let Some(length) = memchr2(b'"', b'\\', &self.text[self.at..]) else {
                self.at = self.text.len();
                return Err(self.error(Problem::End));
            };
            self.at += length + 1;
            if self.text[self.at - 1] == b'"' {
                return Ok(());
            }
            self.at += 1; // the escaped byte
            if self.at >= self.text.len() {
                self.at = self.text.len();
                return Err(self.error(Problem::End));
            }
        }
    }

    fn skip_nested(&mut self, open: u8, close: u8) -> Result<()> {
        let mut depth = 0usize;
        loop {
            let Some(length) = memchr3(open, close, b'"', &self.text[self.at..]) else {
                self.at = self.text.len();
                return Err(self.error(Problem::End));
            };
            self.at += length;
            match self.text[self.at] {
                b'"' => {
                    self.skip_string()?;
                    continue;
                }
                byte if byte == open => depth += 1,
                _ => depth -= 1,
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(text: &str) -> std::result::Result<&str, Problem> {
        let mut cursor = Cursor::new(text.as_bytes(), 0);
        cursor.skip().map_err(|error| error.problem)?;
        Ok(&text[cursor.at()..])
    }

    #[test]
    fn skipping_ends_after_the_value() {
        for (text, rest) in [
            ("  12.5, 3", ", 3"),
            (r#""a\"]\\" ]"#, " ]"),
            (r#"[[1, "]"], {"a": [2]}] x"#, " x"),
            (r#"{"a": "}", "b": {"c": {}}},"#, ","),
            ("null}", "}"),
            ("true", ""),
        ] {
            assert_eq!(skipped(text), Ok(rest), "{text}");
        }
        for text in [
            "",
            "[1, 2",
            r#""abc"#,
            r#""abc\"#,
            r#"{"a": 1"#,
            "tru",
            "-",
            "1e",
        ] {
            assert_eq!(skipped(text), Err(Problem::End), "{text}");
        }
        assert_eq!(skipped("x"), Err(Problem::Syntax("a number")));
        assert_eq!(skipped("nothing"), Err(Problem::Syntax("a value")));
    }

    #[test]
    fn strings_are_unescaped() {
        let string = |text: &str| {
            Cursor::new(text.as_bytes(), 0)
                .string()
                .map(Cow::into_owned)
        };
        assert_eq!(string(r#""plain""#).unwrap(), b"plain");
        assert_eq!(
            string(r#""a\\b\n\u00e9\ud83d\ude00\/""#).unwrap(),
            "a\\b\né😀/".as_bytes()
        );
        assert_eq!(string(r#""\ud83dx""#).unwrap(), "\u{fffd}x".as_bytes());
        for cut in [r#""ab"#, r#""a\"#, r#""a\u00"#] {
            assert_eq!(string(cut).unwrap_err().problem, Problem::End, "{cut}");
        }
        assert!(matches!(
            string(r#""\x""#).unwrap_err().problem,
            Problem::Syntax(_)
        ));
        assert!(matches!(
            string(r#""\u12g4""#).unwrap_err().problem,
            Problem::Syntax(_)
        ));
    }

    #[test]
    fn objects_and_arrays_are_walked() {
        let mut keys = Vec::new();
        let mut cursor = Cursor::new(br#" {"a": 1, "b" : [true, 2]} "#, 0);
        cursor
            .object(|key, cursor| {
                keys.push(String::from_utf8_lossy(key).into_owned());
                cursor.skip()
            })
            .unwrap();
        assert_eq!(keys, ["a", "b"]);
        for wrong in [r#"{"a" 1}"#, r#"{"a": 1 "b": 2}"#, "{a: 1}", "[1]"] {
            let mut cursor = Cursor::new(wrong.as_bytes(), 0);
            let error = cursor.object(|_, cursor| cursor.skip()).unwrap_err();
            assert!(matches!(error.problem, Problem::Syntax(_)), "{wrong}");
        }
    }
}
