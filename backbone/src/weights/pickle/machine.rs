//! The stack machine: protocols 0 to 5, in words of Python's `pickletools`.

use std::collections::HashMap;

use super::super::error::{Problem, damaged};
use super::calls::pairs;
use super::source::Source;
use super::value::{Blob, Object, Pickle, Value};

/// Objects of one pickle. The largest real checkpoints have a few hundred thousand.
const MAX_OBJECTS: usize = 16 << 20;
/// Opcodes of one pickle; each adds at most a few machine words.
const MAX_STEPS: usize = 128 << 20;
/// Bytes that names and pairs may be copied into: a short program can ask for the same long name a
/// million times.
const MAX_COPIES: usize = 256 << 20;

/// Runs one pickle program to its end and leaves the source behind its last byte.
///
/// # Errors
/// A program that breaks the machine's rules, ends early, or names something only a program needs.
pub(crate) fn parse<S: Source>(source: &mut S) -> Result<Pickle, Problem> {
    let mut machine = Machine {
        source,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        objects: Vec::new(),
        copies_left: MAX_COPIES,
    };
    for _ in 0..MAX_STEPS {
        let [opcode] = machine.source.bytes()?;
        if opcode == b'.' {
            let root = machine.pop()?;
            return Ok(Pickle {
                objects: machine.objects,
                root,
            });
        }
        machine.step(opcode)?;
    }
    damaged("its pickle does not end")
}

/// The machine's state between two instructions.
pub(super) struct Machine<'a, S> {
    pub(super) source: &'a mut S,
    stack: Vec<Value>,
    /// Heights of the stack at which a mark was set.
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    pub(super) objects: Vec<Object>,
    pub(super) copies_left: usize,
}

impl<S: Source> Machine<'_, S> {
    pub(super) fn step(&mut self, opcode: u8) -> Result<(), Problem> {
        match opcode {
            // Numbers and constants.
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'K' => {
                let [byte] = self.source.bytes()?;
                self.push(Value::Int(i64::from(byte)))
            }
            b'M' => {
                let number = u16::from_le_bytes(self.source.bytes()?);
                self.push(Value::Int(i64::from(number)))
            }
            b'J' => {
                let number = i32::from_le_bytes(self.source.bytes()?);
                self.push(Value::Int(i64::from(number)))
            }
            b'G' => {
                let number = f64::from_be_bytes(self.source.bytes()?);
                self.push(Value::Float(number))
            }
            0x8a => {
                let len = self.length(1)?;
                self.long(len)
            }
            0x8b => {
                let len = self.length(4)?;
                self.long(len)
            }
            b'I' | b'L' | b'F' => self.number_line(),

            // Strings.
            b'X' => self.string(4, true),
            0x8c => self.string(1, true),
            0x8d => self.string(8, true),
            b'B' | b'T' => self.string(4, false),
            b'C' | b'U' => self.string(1, false),
            0x8e | 0x96 => self.string(8, false),
            b'S' | b'V' => self.string_line(opcode == b'V'),

            // Containers.
            b']' | 0x8f => self.push_object(Object::List(Vec::new())),
            b'}' => self.push_object(Object::Dict(Vec::new())),
            b')' => self.push_object(Object::Tuple(Vec::new())),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'l' | 0x91 => {
                let values = self.pop_to_mark()?;
                self.push_object(Object::List(values))
            }
            b't' => {
                let values = self.pop_to_mark()?;
                self.push_object(Object::Tuple(values))
            }
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                let values = self.pop_many(count)?;
                self.push_object(Object::Tuple(values))
            }
            b'd' => {
                let values = self.pop_to_mark()?;
                self.push_object(Object::Dict(pairs(&values)?))
            }
            b'a' => {
                let value = self.pop()?;
                self.append(vec![value])
            }
            b'e' | 0x90 => {
                let values = self.pop_to_mark()?;
                self.append(values)
            }
            b's' => {
                let values = self.pop_many(2)?;
                self.set_items(&values)
            }
            b'u' => {
                let values = self.pop_to_mark()?;
                self.set_items(&values)
            }

            // Stack and memo.
            b'0' => self.pop().map(drop),
            b'1' => self.pop_to_mark().map(drop),
            b'2' => self.top().and_then(|value| self.push(value)),
            b'q' => {
                let key = self.length(1)?;
                self.remember(key)
            }
            b'r' => {
                let key = self.length(4)?;
                self.remember(key)
            }
            0x94 => self.remember(self.memo.len() as u64),
            b'h' => {
                let key = self.length(1)?;
                self.recall(key)
            }
            b'j' => {
                let key = self.length(4)?;
                self.recall(key)
            }
            b'p' | b'g' => {
                let line = self.text_line()?;
                match line.trim().parse() {
                    Ok(key) if opcode == b'p' => self.remember(key),
                    Ok(key) => self.recall(key),
                    Err(_) => damaged("its pickle has a memo number that is none"),
                }
            }

            // Names, calls, persistent ids.
            b'c' => {
                let module = self.text_line()?;
                let name = self.text_line()?;
                self.global(module, name)
            }
            0x93 => {
                let names = self.pop_many(2)?;
                match (self.text(names[0])?, self.text(names[1])?) {
                    (Some(module), Some(name)) => self.global(module, name),
                    _ => damaged("its pickle names something without a name"),
                }
            }
            b'R' | 0x81 => {
                let values = self.pop_many(2)?;
                self.call(values[0], values[1])
            }
            0x92 => {
                let values = self.pop_many(3)?; // class, arguments, keyword arguments
                self.call(values[0], values[1])
            }
            b'o' => {
                let mut values = self.pop_to_mark()?;
                if values.is_empty() {
                    return damaged("its pickle makes an object of no class");
                }
                let arguments = values.split_off(1);
                let arguments = self.add(Object::Tuple(arguments))?;
                self.call(values[0], arguments)
            }
            b'i' => {
                let module = self.text_line()?;
                let name = self.text_line()?;
                let arguments = self.pop_to_mark()?;
                self.global(module, name)?;
                let class = self.pop()?;
                let arguments = self.add(Object::Tuple(arguments))?;
                self.call(class, arguments)
            }
            b'b' => self.build(),
            b'Q' => self.persistent(),

            // Framing.
            0x80 => {
                let [version] = self.source.bytes()?;
                if version > 5 {
                    return Err(Problem::Unsupported(format!("pickle protocol {version}")));
                }
                Ok(())
            }
            0x95 => self.source.bytes::<8>().map(drop),
            0x98 => Ok(()), // READONLY_BUFFER leaves the value as it is
            b'P' => Err(Problem::Unsupported(
                "a persistent id of protocol 0".to_owned(),
            )),
            0x82..=0x84 => Err(Problem::Unsupported(
                "pickle's extension registry".to_owned(),
            )),
            0x97 => Err(Problem::Unsupported(
                "a pickle with buffers kept elsewhere".to_owned(),
            )),
            other => damaged(format!(
                "its pickle has an unknown instruction 0x{other:02x}"
            )),
        }
    }

    pub(super) fn push(&mut self, value: Value) -> Result<(), Problem> {
        self.stack.push(value);
        Ok(())
    }

    pub(super) fn add(&mut self, object: Object) -> Result<Value, Problem> {
        if self.objects.len() >= MAX_OBJECTS {
            return damaged("its pickle holds more objects than any checkpoint");
        }
        self.objects.push(object);
        Ok(Value::Object((self.objects.len() - 1) as u32))
    }

    pub(super) fn push_object(&mut self, object: Object) -> Result<(), Problem> {
        let value = self.add(object)?;
        self.push(value)
    }

    /// Lowest height that may be popped: values under a mark belong to the instruction that
    /// collects it.
    pub(super) fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    pub(super) fn pop(&mut self) -> Result<Value, Problem> {
        if self.stack.len() <= self.floor() {
            return damaged("its pickle takes a value from an empty stack");
        }
        Ok(self.stack.pop().unwrap_or(Value::None))
    }

    pub(super) fn top(&self) -> Result<Value, Problem> {
        if self.stack.len() <= self.floor() {
            return damaged("its pickle looks at an empty stack");
        }
        Ok(self.stack[self.stack.len() - 1])
    }

    pub(super) fn pop_many(&mut self, count: usize) -> Result<Vec<Value>, Problem> {
        if self.stack.len() < self.floor() + count {
            return damaged("its pickle takes values from an empty stack");
        }
        Ok(self.stack.split_off(self.stack.len() - count))
    }

    pub(super) fn pop_to_mark(&mut self) -> Result<Vec<Value>, Problem> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => damaged("its pickle closes a group that it never opened"),
        }
    }

    pub(super) fn remember(&mut self, key: u64) -> Result<(), Problem> {
        let value = self.top()?;
        self.memo.insert(key, value);
        Ok(())
    }

    pub(super) fn recall(&mut self, key: u64) -> Result<(), Problem> {
        match self.memo.get(&key) {
            Some(&value) => self.push(value),
            None => damaged(format!(
                "its pickle refers to value {key}, which it never set"
            )),
        }
    }

    /// An unsigned little-endian number of `width` bytes.
    pub(super) fn length(&mut self, width: usize) -> Result<u64, Problem> {
        let mut bytes = [0; 8];
        self.source.fill(&mut bytes[..width])?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// A two's complement integer; more than eight bytes are kept as a value without meaning.
    pub(super) fn long(&mut self, len: u64) -> Result<(), Problem> {
        let Blob::Memory(bytes) = self.source.blob(len)? else {
            return self.push_object(Object::Other);
        };
        if bytes.len() > 8 {
            return self.push_object(Object::Other);
        }
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide[..bytes.len()].copy_from_slice(&bytes);
        self.push(Value::Int(i64::from_le_bytes(wide)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::MemorySource;
    use super::*;

    fn run(program: &[u8]) -> Result<Pickle, Problem> {
        parse(&mut MemorySource::new(program.to_vec()))
    }

    /// `pickle.dumps({"a": [1, -2, 3.5], b"k": (True, None)}, 2)` with Python 3.11, by hand for
    /// the bytes key.
    #[test]
    fn plain_values_come_out() {
        let program = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG@\x0c\x00\x00\x00\x00\x00\x00eC\x01k\x88N\x86u.";
        let pickle = run(program).expect("valid");
        let Some(Object::Dict(items)) = pickle.object(pickle.root) else {
            panic!("no dictionary");
        };
        assert_eq!(pickle.text(items[0].0).as_deref(), Some("a"));
        let list = pickle.sequence(items[0].1).expect("list");
        assert_eq!(list, [Value::Int(1), Value::Int(-2), Value::Float(3.5)]);
        assert_eq!(pickle.text(items[1].0).as_deref(), Some("k"));
        let tuple = pickle.sequence(items[1].1).expect("tuple");
        assert_eq!(tuple, [Value::Bool(true), Value::None]);
    }

    #[test]
    fn broken_programs_are_errors() {
        for program in [
            &b"."[..],
            b"0.",
            b"(.",
            b"u.",
            b"h\x05.",
            b"]K\x01u.",
            b"K\x01K\x02a.",
            b"B\xff\xff\xff\xff.",
            b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
            b"\x80\x09.",
            b"\xff.",
            b"(K\x01\x86.",
            b"S'a.",
            b"]b.",
        ] {
            assert!(run(program).is_err(), "{program:?}");
        }
    }

    /// A million nested lists once overflowed the stack of readers that drop values recursively.
    #[test]
    fn deep_nesting_costs_no_stack() {
        let mut program = vec![b']'; 1_000_000];
        program.extend(std::iter::repeat_n(b'a', 999_999));
        program.push(b'.');
        drop(run(&program).expect("valid"));
    }

    #[test]
    fn protocol_0_strings_are_unescaped() {
        let pickle = run(b"S'a\\x41\\n\\'b'\n.").expect("valid");
        assert_eq!(pickle.text(pickle.root).as_deref(), Some("aA\n'b"));
        let pickle = run(b"Vcaf\\u00e9\n.").expect("valid");
        assert_eq!(pickle.text(pickle.root).as_deref(), Some("café"));
    }
}
