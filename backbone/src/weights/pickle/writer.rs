//! A pickle writer with the few instructions that a state dict needs.
//!
//! Source: `Lib/pickletools.py` of CPython. Nothing is memoised: what a file repeats is a few short
//! names per tensor.

use std::io::{self, Write};

/// Writes instructions for the unpickler's stack machine.
pub(in super::super) struct PickleWriter<'a, W: Write> {
    out: &'a mut W,
}

impl<'a, W: Write> PickleWriter<'a, W> {
    /// Starts a pickle of that protocol.
    pub(in super::super) fn new(out: &'a mut W, protocol: u8) -> io::Result<Self> {
        out.write_all(&[0x80, protocol])?;
        Ok(Self { out })
    }

    /// Ends it; the one value left on the stack is the object.
    pub(in super::super) fn finish(self) -> io::Result<()> {
        self.out.write_all(b".")
    }

    pub(in super::super) fn text(&mut self, text: &str) -> io::Result<()> {
        let length = u32::try_from(text.len()).map_err(io::Error::other)?;
        self.out.write_all(b"X")?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(text.as_bytes())
    }

    pub(in super::super) fn int(&mut self, number: i64) -> io::Result<()> {
        if let Ok(byte) = u8::try_from(number) {
            self.out.write_all(&[b'K', byte])
        } else if let Ok(word) = i32::try_from(number) {
            self.out.write_all(b"J")?;
            self.out.write_all(&word.to_le_bytes())
        } else {
            self.out.write_all(&[0x8a, 8])?;
            self.out.write_all(&number.to_le_bytes())
        }
    }

    pub(in super::super) fn flag(&mut self, flag: bool) -> io::Result<()> {
        self.out.write_all(&[if flag { 0x88 } else { 0x89 }])
    }

    pub(in super::super) fn none(&mut self) -> io::Result<()> {
        self.out.write_all(b"N")
    }

    /// A class or function by its module and name.
    pub(in super::super) fn global(&mut self, module: &str, name: &str) -> io::Result<()> {
        write!(self.out, "c{module}\n{name}\n")
    }

    pub(in super::super) fn empty_dict(&mut self) -> io::Result<()> {
        self.out.write_all(b"}")
    }

    pub(in super::super) fn empty_tuple(&mut self) -> io::Result<()> {
        self.out.write_all(b")")
    }

    /// A tuple of what `fill` leaves on the stack.
    pub(in super::super) fn tuple<E: From<io::Error>>(
        &mut self,
        fill: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.out.write_all(b"(")?;
        fill(self)?;
        Ok(self.out.write_all(b"t")?)
    }

    /// A tuple of integers.
    pub(in super::super) fn ints(&mut self, numbers: &[i64]) -> io::Result<()> {
        self.tuple(|pickle| numbers.iter().try_for_each(|&number| pickle.int(number)))
    }

    /// Calls the function below the tuple of arguments on top.
    pub(in super::super) fn call(&mut self) -> io::Result<()> {
        self.out.write_all(b"R")
    }

    /// Hands the state on top to the object below it.
    pub(in super::super) fn build(&mut self) -> io::Result<()> {
        self.out.write_all(b"b")
    }

    /// Puts key and value on top into the dictionary below them.
    pub(in super::super) fn set_item(&mut self) -> io::Result<()> {
        self.out.write_all(b"s")
    }

    /// Replaces the identification on top by what the loader keeps under it.
    pub(in super::super) fn persistent(&mut self) -> io::Result<()> {
        self.out.write_all(b"Q")
    }

    /// Bytes (protocol 3; from 4 GiB on protocol 4), which `fill` writes.
    pub(in super::super) fn bytes<E: From<io::Error>>(
        &mut self,
        length: u64,
        fill: impl FnOnce(&mut W) -> Result<(), E>,
    ) -> Result<(), E> {
        match u32::try_from(length) {
            Ok(length) => {
                self.out.write_all(b"B")?;
                self.out.write_all(&length.to_le_bytes())?;
            }
            Err(_) => {
                self.out.write_all(&[0x8e])?;
                self.out.write_all(&length.to_le_bytes())?;
            }
        }
        fill(self.out)
    }
}
