//! The elements of one array, parsed on all threads.
//!
//! A text is cut where an element seems to begin: at a `{` after `}` and a comma. Each piece is parsed
//! on a thread of its own, on the guess that the cut is real. Whether it was shows when the piece
//! before it ends: exactly at the cut, or not, in which case the guess is thrown away and parsing
//! goes on from there. What comes out is what one thread would have found.

use memchr::memchr;
use rayon::prelude::*;

use super::cursor::{Cursor, JsonError, Problem};

/// Smaller pieces are not worth a thread, in bytes.
const SMALLEST_PIECE: usize = 64 * 1024;
/// Pieces per thread, so that a slow one does not keep the others waiting.
const PIECES_PER_THREAD: usize = 4;

/// What stands where parsing starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// The first element or the closing bracket: the opening bracket was passed.
    Opening,
    /// An element: a comma was passed.
    Element,
    /// A comma or the closing bracket: an element was passed.
    Separator,
}

/// How the elements of a text ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ElementsEnd {
    /// With the array's closing bracket, which was passed.
    Closed,
    /// With the text, before an element that is not there in whole.
    Cut(Start),
    /// At something that is no JSON or was refused.
    Failed(JsonError),
}

/// Elements found, in pieces of the text's order.
#[derive(Debug)]
pub(crate) struct Elements<S> {
    /// What each piece collected.
    pub pieces: Vec<S>,
    /// Where the first byte stands that belongs to no collected element.
    pub at: usize,
    /// How they ended.
    pub end: ElementsEnd,
}

struct Piece<S> {
    start: usize,
    sink: S,
    at: usize,
    end: Option<ElementsEnd>,
}

/// Parses elements from `start` on.
///
/// `element` passes one value and adds what it read to the sink. A failing element must leave nothing
/// in the sink.
pub(crate) fn parse_elements<S, F>(
    text: &[u8],
    start: usize,
    from: Start,
    new: impl Fn() -> S + Sync,
    element: F,
) -> Elements<S>
where
    S: Send,
    F: Fn(&mut S, &mut Cursor<'_>) -> Result<(), JsonError> + Sync,
{
    let mut first = Cursor::new(text, start);
    let before = match from {
        Start::Opening if first.take(b']') => Some(ElementsEnd::Closed),
        Start::Separator => separator(&mut first),
        _ => None,
    };
    let mut done = Elements {
        pieces: Vec::new(),
        at: first.at(),
        end: ElementsEnd::Cut(from),
    };
    if let Some(end) = before {
        done.end = end;
        return done;
    }
    let starts = cuts(text, done.at);
    let parse = |start: usize, limit: usize| parse_piece(text, start, limit, new(), &element);
    let pieces: Vec<Piece<S>> = (0..starts.len())
        .into_par_iter()
        .map(|i| parse(starts[i], starts.get(i + 1).copied().unwrap_or(text.len())))
        .collect();
    for piece in pieces {
        // Behind a wrong guess there is a gap, which is parsed now.
        while done.at < piece.start {
            let gap = parse(done.at, piece.start);
            if accept(&mut done, gap) {
                return done;
            }
        }
        // A guess that was passed over is left out.
        if piece.start == done.at && accept(&mut done, piece) {
            return done;
        }
    }
    let rest = parse(done.at, text.len());
    accept(&mut done, rest);
    done
}

/// Passes a comma; or tells how the elements end instead.
fn separator(cursor: &mut Cursor<'_>) -> Option<ElementsEnd> {
    if cursor.take(b',') {
        return None;
    }
    Some(
        match cursor.expect(b']', "a comma or the end of the array") {
            Ok(()) => ElementsEnd::Closed,
            Err(error) if error.problem == Problem::End => ElementsEnd::Cut(Start::Separator),
            Err(error) => ElementsEnd::Failed(error),
        },
    )
}

/// Takes over a piece that starts where the ones before it end; whether it was the last.
fn accept<S>(done: &mut Elements<S>, piece: Piece<S>) -> bool {
    done.pieces.push(piece.sink);
    done.at = piece.at;
    match piece.end {
        Some(end) => {
            done.end = end;
            true
        }
        None => false,
    }
}

/// Parses elements until one starts at `limit` or later.
fn parse_piece<S>(
    text: &[u8],
    start: usize,
    limit: usize,
    mut sink: S,
    element: &impl Fn(&mut S, &mut Cursor<'_>) -> Result<(), JsonError>,
) -> Piece<S> {
    let mut cursor = Cursor::new(text, start);
    cursor.peek();
    let mut at = cursor.at();
    let end = loop {
        match element(&mut sink, &mut cursor) {
            Ok(()) => at = cursor.at(),
            Err(error) if error.problem == Problem::End => {
                break Some(ElementsEnd::Cut(Start::Element));
            }
            Err(error) => break Some(ElementsEnd::Failed(error)),
        }
        if let Some(end) = separator(&mut cursor) {
            if end == ElementsEnd::Closed {
                at = cursor.at();
            }
            break Some(end);
        }
        cursor.peek();
        at = cursor.at();
        if at >= limit && limit < text.len() {
            break None;
        }
    };
    Piece {
        start,
        sink,
        at,
        end,
    }
}

/// Places where elements seem to begin, the first being the first byte that is no white space.
fn cuts(text: &[u8], start: usize) -> Vec<usize> {
    let mut first = Cursor::new(text, start);
    first.peek();
    let start = first.at();
    let length = text.len() - start;
    let most = PIECES_PER_THREAD * rayon::current_num_threads();
    let pieces = (length / SMALLEST_PIECE).clamp(1, most);
    let mut starts = vec![start];
    for piece in 1..pieces {
        let wished = start + length / pieces * piece;
        match cut_after(text, wished) {
            Some(cut) if starts.last().is_some_and(|&last| cut > last) => starts.push(cut),
            _ => {}
        }
    }
    starts
}

/// The first `{` from `at` on that follows a `}` and a comma.
fn cut_after(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr(b'}', &text[at..])? + 1;
        let mut cursor = Cursor::new(text, at);
        if cursor.take(b',') && cursor.peek() == Some(b'{') {
            return Some(cursor.at());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> (Vec<i64>, ElementsEnd, usize) {
        let found = parse_elements(
            text.as_bytes(),
            1,
            Start::Opening,
            Vec::new,
            |sink: &mut Vec<i64>, cursor| {
                let mut value = None;
                cursor.object(|key, cursor| {
                    if key == b"n" {
                        value = Some(cursor.number()?.value() as i64);
                        Ok(())
                    } else {
                        cursor.skip()
                    }
                })?;
                sink.push(value.ok_or_else(|| cursor.meaning("no n"))?);
                Ok(())
            },
        );
        (found.pieces.concat(), found.end, found.at)
    }

    /// Strings that look like the space between elements make every guess go wrong.
    #[test]
    fn pieces_are_what_one_thread_finds_even_where_every_cut_is_a_trap() {
        let count = 20_000;
        for trap in [
            r#", "s": "}, {\"n\": 7}, {""#,
            "",
            r#", "deep": [{"n": 1}, {"n": 2}]"#,
        ] {
            let elements: Vec<String> = (0..count)
                .map(|n| format!(r#"{{"n": {n}{trap}}}"#))
                .collect();
            let text = format!("[{} ]tail", elements.join(" ,\n "));
            assert!(text.len() > 2 * SMALLEST_PIECE);
            let (found, end, at) = numbers(&text);
            assert_eq!((end, &text[at..]), (ElementsEnd::Closed, "tail"));
            assert!(found.into_iter().eq(0..count));
        }
    }

    #[test]
    fn ends_are_told_apart() {
        assert_eq!(numbers("[]"), (vec![], ElementsEnd::Closed, 2));
        assert_eq!(numbers("[ "), (vec![], ElementsEnd::Cut(Start::Element), 2));
        let (found, end, at) = numbers(r#"[{"n": 1}, {"n""#);
        assert_eq!(
            (found, end, at),
            (vec![1], ElementsEnd::Cut(Start::Element), 11)
        );
        let (found, end, at) = numbers(r#"[{"n": 1}"#);
        assert_eq!(
            (found, end, at),
            (vec![1], ElementsEnd::Cut(Start::Separator), 9)
        );
        let (found, end, _) = numbers(r#"[{"n": 1} {"n": 2}]"#);
        assert_eq!(found, [1]);
        assert!(matches!(end, ElementsEnd::Failed(JsonError { at: 10, .. })));
        let (found, end, _) = numbers(r#"[{"n": 1}, {"m": 2}]"#);
        assert_eq!(found, [1]);
        assert!(matches!(
            end,
            ElementsEnd::Failed(JsonError {
                problem: Problem::Meaning(_),
                ..
            })
        ));
        assert!(matches!(
            numbers(r#"[{"n": 1},]"#).1,
            ElementsEnd::Failed(_)
        ));
    }
}
