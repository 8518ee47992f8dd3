//! A pickle reader that runs nothing, and a small writer.
//!
//! Pickle is a program for a stack machine. This machine builds lists, dictionaries, strings and
//! numbers; whatever the program wants to *call* is only written down as a [`value::Call`]. The
//! few calls that stand for tensors are given their meaning later, by name, in
//! [`super::rebuild`]; all others stay inert.
//!
//! Memory is bounded: every length is compared with the bytes that are left before anything is
//! allocated, objects live in one flat arena (so neither shared references nor deep nesting cost
//! anything on the way in or on drop), and their number is limited.

mod calls;
mod globals;
mod machine;
mod source;
mod strings;
mod value;
mod writer;

pub(super) use machine::parse;
pub(super) use source::{FileSource, MemorySource, Source};
pub(super) use value::{Blob, Call, Object, Pickle, Storage, Value};
pub(super) use writer::PickleWriter;
