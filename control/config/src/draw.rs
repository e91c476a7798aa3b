//! Problems drawn as rustc draws them.

use crate::place::{Files, Span};
use crate::problem::{Problem, Problems, Severity};
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// Whether a drawing has terminal colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Colour {
    Plain,
    Terminal,
}

/// Widest line that is drawn. Unit: bytes. Of a longer one only the place is told.
const LINE_BYTES_MAX: usize = 4_096;

/// Two places nearer than this are drawn in one picture. Unit: bytes.
const PICTURE_BYTES_MAX: usize = 16 << 10;

impl Problems {
    /// All of them, an empty line between two, and how many more there are.
    pub fn draw(&self, colour: Colour) -> String {
        let mut drawn: Vec<String> = self.iter().map(|problem| self.draw_one(problem, colour)).collect();
        if self.more() > 0 {
            drawn.push(format!("and {} more", self.more()));
        }
        drawn.join("\n\n")
    }

    /// One of these problems.
    pub fn draw_one(&self, problem: &Problem, colour: Colour) -> String {
        let renderer = match colour {
            Colour::Plain => Renderer::plain(),
            Colour::Terminal => Renderer::styled(),
        };
        let drawn = renderer.render(&[picture(problem, self.files())]);
        // The renderer shows the control characters of ASCII in other ways, but not those of Latin-1, and to
        // some terminals U+009B is the beginning of an order.
        match drawn.contains(is_c1_control) {
            true => drawn.replace(is_c1_control, "\u{fffd}"),
            false => drawn,
        }
    }
}

fn is_c1_control(character: char) -> bool {
    ('\u{80}'..='\u{9f}').contains(&character)
}

fn picture<'a>(problem: &'a Problem, files: &'a Files) -> Group<'a> {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(problem.message.as_str()).id(problem.code.label()));
    let mut apart = Vec::new();
    if let Some(span) = problem.span {
        let label = problem.found.as_deref().map(|found| format!("found {found}"));
        let mut marks = vec![Mark { span, kind: AnnotationKind::Primary, label: label.unwrap_or_default() }];
        for also in &problem.also {
            if let Some(span) = also.span {
                let mark = Mark { span, kind: AnnotationKind::Context, label: also.label.clone() };
                if together(&marks[0], &mark) { marks.push(mark) } else { apart.push(mark) }
            }
        }
        group = draw_marks(group, marks, files);
    } else if let Some(place) = &problem.place {
        group = group.element(Origin::path(place.file.as_str()).line(place.line as usize));
    } else if let Some(found) = &problem.found {
        group = group.element(Level::NOTE.message(format!("found {found}")));
    }
    for mark in apart {
        group = draw_marks(group, vec![mark], files);
    }
    if let Some(accepted) = &problem.accepted {
        group = group.element(Level::NOTE.message(format!("accepted: {accepted}")));
    }
    if !problem.path.is_empty() {
        group = group.element(Level::NOTE.message(format!("this is `{}`", problem.path)));
    }
    if let Some(help) = &problem.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    group
}

struct Mark {
    span: Span,
    kind: AnnotationKind,
    label: String,
}

fn together(a: &Mark, b: &Mark) -> bool {
    a.span.file == b.span.file && a.span.start.abs_diff(b.span.start) as usize <= PICTURE_BYTES_MAX
}

/// Marks of one file, all within one picture. Only the lines between them are handed to the renderer: it
/// reads all it is given, and a document may be large.
fn draw_marks<'a>(group: Group<'a>, marks: Vec<Mark>, files: &'a Files) -> Group<'a> {
    let ranges = marks.iter().map(|mark| files.lines_around(mark.span));
    let (line, from) =
        ranges.clone().map(|(line, range)| (line, range.start)).min().expect("there is at least one mark");
    let to = ranges.map(|(_, range)| range.end).max().expect("there is at least one mark");
    let first = marks[0].span;
    let name = files.name(first.file);
    let text = &files.text(first.file)[from..to];
    if text.lines().any(|line| line.len() > LINE_BYTES_MAX) {
        let place = files.place(first);
        return group.element(Origin::path(name).line(place.line as usize).char_column(place.column as usize));
    }
    let annotations = marks.into_iter().map(|mark| annotation(mark, from));
    group.element(Snippet::source(text).path(name).line_start(line).annotations(annotations))
}

fn annotation(mark: Mark, from: usize) -> Annotation<'static> {
    let range = mark.span.start as usize - from..mark.span.end as usize - from;
    let annotation = mark.kind.span(range);
    if mark.label.is_empty() { annotation } else { annotation.label(mark.label) }
}
