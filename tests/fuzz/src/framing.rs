//! `api::framing` against the sentence that defines it: a message ends at a NUL byte or a newline.
//!
//! Whatever the bytes and however they are cut into pieces, the same messages come out, none longer than the
//! bound.

use crate::script::Script;
use api::framing::{Decoder, End, Frame, TooLong};

/// Bytes of a stream: everything behind the first `|`. Before it stand the bound, as a digit, and the
/// lengths of the pieces, again and again; without a `|` all is stream.
pub fn framing(data: &[u8]) {
    let (head, stream) = match data.iter().position(|byte| *byte == b'|') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (&b""[..], data),
    };
    let mut script = Script::new(head);
    let bound = BOUNDS[script.digit()];
    let cuts: Vec<usize> = (1..head.len()).map(|_| script.digit()).collect();

    let expected = by_definition(stream, bound);
    assert_eq!(decoded([stream], bound), expected, "in one piece");
    assert_eq!(decoded(stream.chunks(1), bound), expected, "byte by byte");
    assert_eq!(decoded(cut(stream, &cuts), bound), expected, "in pieces of {cuts:?}");

    // What was understood, said again, is understood again.
    let said: Vec<u8> = expected.iter().flatten().flat_map(said).collect();
    let understood: Vec<Decoded> = expected.into_iter().filter(Result::is_ok).collect();
    assert_eq!(decoded([&said[..]], bound), understood);
}

const BOUNDS: [usize; 10] = [8, 0, 1, 2, 3, 5, 16, 64, 255, 4_096];

type Decoded = Result<Frame, TooLong>;

/// The stream as a whole, without any state: lines, then what each of them is.
fn by_definition(stream: &[u8], bound: usize) -> Vec<Decoded> {
    let mut out = Vec::new();
    let mut lines = stream.split_inclusive(|byte| ends(*byte)).peekable();
    while let Some(line) = lines.next() {
        let (text, end) = match line {
            [text @ .., 0] => (text, End::Nul),
            [text @ .., b'\n'] => (text, End::Newline),
            // Only the last line can be without an end; the end of the stream is one.
            text => (text, End::Newline),
        };
        assert!(line.last().is_some_and(|byte| ends(*byte)) || lines.peek().is_none());
        match text.trim_ascii() {
            _ if text.len() > bound => out.push(Err(TooLong { bound })),
            [] => {}
            text => out.push(Ok(Frame { text: text.to_vec(), end })),
        }
    }
    out
}

fn ends(byte: u8) -> bool {
    byte == 0 || byte == b'\n'
}

fn decoded<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, bound: usize) -> Vec<Decoded> {
    let mut decoder = Decoder::new(bound);
    let mut out = Vec::new();
    for piece in pieces {
        decoder.feed(piece);
        while let Some(decoded) = decoder.decode() {
            out.push(decoded);
        }
        assert!(decoder.decode().is_none(), "nothing comes of nothing");
    }
    out.extend(decoder.finish().map(Ok));
    out
}

/// Pieces of these lengths, over and over; empty ones are fed too. All at once if none has a length.
fn cut<'a>(stream: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    if lengths.iter().all(|length| *length == 0) {
        return vec![stream];
    }
    let mut rest = stream;
    let mut pieces = Vec::new();
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*length).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn said(Frame { text, end }: &Frame) -> Vec<u8> {
    let mut bytes = text.clone();
    bytes.push(end.byte());
    bytes
}
