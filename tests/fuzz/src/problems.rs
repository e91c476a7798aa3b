//! What holds for every list of problems, whatever they are about.

use crate::files::Files;
use config::{Colour, Place, Problem, Problems, Severity};

/// Of a document: every problem has a place inside its text.
pub(crate) fn of_document(problems: &Problems, files: &Files) {
    of_anything(problems);
    for problem in problems.iter() {
        let place = problem.place.as_ref().unwrap_or_else(|| panic!("without a place: {problem}"));
        inside(place, files, problem);
        for also in &problem.also {
            assert_quotable(&also.label);
            also.place.iter().for_each(|place| inside(place, files, problem));
        }
    }
    // In the order of the text, as far as it is one text.
    for list in [problems.errors(), problems.warnings()] {
        for pair in list.windows(2) {
            if let [Some(one), Some(next)] = [&pair[0].place, &pair[1].place]
                && one.file == next.file
            {
                assert!((one.line, one.column) <= (next.line, next.column), "{} comes before {}", pair[0], pair[1]);
            }
        }
    }
}

/// Of edits, which have no text.
pub(crate) fn of_edits(problems: &Problems) {
    of_anything(problems);
    for problem in problems.iter() {
        assert!(problem.place.is_none() && !problem.path.is_empty(), "{problem}");
    }
}

/// Of a patch, which may be about the document as a whole.
pub(crate) fn of_patch(problems: &Problems) {
    of_anything(problems);
    assert!(problems.iter().all(|problem| problem.place.is_none()));
}

fn of_anything(problems: &Problems) {
    for (list, severity) in [(problems.errors(), Severity::Error), (problems.warnings(), Severity::Warning)] {
        assert!(list.len() <= Problems::MAX);
        for problem in list {
            assert_eq!(problem.severity, severity);
            told(problem);
        }
    }
    let count = problems.iter().count();
    assert_eq!(problems.is_empty(), count == 0);
    assert!(problems.more() == 0 || count > 0, "more than none");

    // One line each, for logs.
    let lines = problems.to_string().lines().count();
    assert_eq!(lines, count + usize::from(problems.more() > 0), "{problems}");

    // For people: the same with and without colour, and nothing of the document reaches the terminal as an order.
    let plain = problems.draw(Colour::Plain);
    let control = plain.chars().find(|character| character.is_control() && *character != '\n');
    assert_eq!(control, None, "{plain:?}");
    assert_eq!(without_colour(&problems.draw(Colour::Terminal)), plain);
    for problem in problems.iter().take(1) {
        assert!(plain.starts_with(&problems.draw_one(problem, Colour::Plain)));
    }
}

fn told(problem: &Problem) {
    let Problem { message, path, found, accepted, help, code, .. } = problem;
    assert!(!message.is_empty() && !code.label().is_empty());
    for text in [Some(message), Some(path), found.as_ref(), accepted.as_ref(), help.as_ref()].into_iter().flatten() {
        assert_quotable(text);
    }
    serde_json::to_string(problem).expect("problems are answered as JSON");
}

/// What goes into a log line, an answer and a drawing: no line of its own, no order to a terminal, no book.
fn assert_quotable(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
    assert!(text.len() <= TEXT_BYTES_MAX, "{} bytes: {text}", text.len());
}

/// A name or value of any length may stand in a document; a problem quotes so much of it at most.
const TEXT_BYTES_MAX: usize = 8 << 10;

fn inside(place: &Place, files: &Files, problem: &Problem) {
    let text = files.find(&place.file).unwrap_or_else(|| panic!("`{}` is no file of this document", place.file));
    let text = String::from_utf8_lossy(text);
    assert!(place.line >= 1 && place.column >= 1, "{problem}");
    let line = text.split('\n').nth(place.line as usize - 1);
    let line = line.unwrap_or_else(|| panic!("{problem}: the text has no line {}", place.line));
    // One behind the last character is where something is missing.
    assert!(place.column as usize <= line.chars().count() + 1, "{problem}: line {} ends before", place.line);
}

/// Takes out `ESC [ … m`, which is all that colours need.
fn without_colour(text: &str) -> String {
    let mut pieces = text.split("\u{1b}[");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (code, rest) = piece.split_once('m').expect("a colour ends");
        assert!(code.bytes().all(|byte| byte.is_ascii_digit() || byte == b';'), "{code:?}");
        out.push_str(rest);
    }
    out
}
