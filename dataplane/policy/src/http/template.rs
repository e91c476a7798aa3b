//! Path templates: `/users/{id}/x`.
//!
//! Owns their syntax and what they match. One that needs less than a whole segment is a regular expression.

use super::path::{EscapedSlash, NormalPath, PathViolation, normalise};
use super::spec::RuleSpec;
use std::fmt;
use std::ops::Range;

/// A compiled template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    segments: Box<[Segment]>,
    /// Name of what the last placeholder takes, if it takes the rest of the path.
    rest: Option<Box<str>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Segment {
    Literal(Box<[u8]>),
    Name(Box<str>),
}

/// Why a template is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TemplateError {
    NotAbsolute,
    TooManySegments,
    /// A brace that does not enclose a whole segment.
    PartOfASegment(String),
    BadName(String),
    SameName(String),
    RestNotLast(String),
    /// Its literal segments have no normal form.
    BadPath(&'static str),
}

impl Template {
    pub fn new(text: &str) -> Result<Template, TemplateError> {
        let text = text.strip_prefix('/').ok_or(TemplateError::NotAbsolute)?;
        if text.split('/').count() > RuleSpec::SEGMENTS_MAX {
            return Err(TemplateError::TooManySegments);
        }
        let (mut segments, mut names) = (Vec::new(), Vec::new());
        let mut rest: Option<Box<str>> = None;
        for segment in text.split('/') {
            if let Some(name) = &rest {
                return Err(TemplateError::RestNotLast(String::from(&**name)));
            }
            let name = segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}'));
            let Some(name) = name else {
                segments.push(Segment::Literal(literal(segment)?));
                continue;
            };
            let (name, is_rest) = name.strip_suffix('*').map_or((name, false), |name| (name, true));
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return Err(TemplateError::BadName(name.to_owned()));
            }
            if names.contains(&name) {
                return Err(TemplateError::SameName(name.to_owned()));
            }
            names.push(name);
            match is_rest {
                true => rest = Some(name.into()),
                false => segments.push(Segment::Name(name.into())),
            }
        }
        match segments.iter().rev().skip(1).any(|segment| *segment == Segment::Literal([].into())) {
            true => Err(TemplateError::BadPath("an empty segment")),
            false => Ok(Template { segments: segments.into(), rest }),
        }
    }

    /// Whether it matches, and `capture`: what its names stand for, by their place in [`Template::names`].
    pub fn matches(&self, path: &[u8], mut capture: impl FnMut(usize, Range<usize>)) -> bool {
        let (mut at, mut name) = (0, 0);
        for segment in &self.segments {
            if path.get(at) != Some(&b'/') {
                return false;
            }
            let begin = at + 1;
            let length = path[begin..].iter().position(|byte| *byte == b'/');
            at = length.map_or(path.len(), |length| begin + length);
            match segment {
                Segment::Literal(literal) if path[begin..at] != **literal => return false,
                Segment::Literal(_) => {}
                Segment::Name(_) if begin == at => return false,
                Segment::Name(_) => {
                    capture(name, begin..at);
                    name += 1;
                }
            }
        }
        match &self.rest {
            None => at == path.len(),
            Some(_) => {
                let goes_on = path.get(at) == Some(&b'/') && at + 1 < path.len();
                if goes_on {
                    capture(name, at + 1..path.len());
                }
                goes_on
            }
        }
    }

    /// In the order of the text.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.segments.iter().filter_map(|segment| match segment {
            Segment::Name(name) => Some(&**name),
            Segment::Literal(_) => None,
        });
        names.chain(self.rest.as_deref())
    }

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub fn has_rest(&self) -> bool {
        self.rest.is_some()
    }
}

fn literal(segment: &str) -> Result<Box<[u8]>, TemplateError> {
    if segment.contains(['{', '}']) {
        return Err(TemplateError::PartOfASegment(segment.to_owned()));
    }
    let (path, mut buffer) = (format!("/{segment}"), Vec::new());
    match normalise(path.as_bytes(), EscapedSlash::Keep, &mut buffer) {
        Ok(NormalPath::ROOT) if !segment.is_empty() => Err(TemplateError::BadPath("a segment of dots")),
        Ok(normal) => Ok(normal.as_bytes()[1..].into()),
        Err(PathViolation::AboveRoot) => Err(TemplateError::BadPath("a segment of dots")),
        Err(why) => Err(TemplateError::BadPath(why.label())),
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(bytes) => write!(f, "/{}", bytes.escape_ascii())?,
                Segment::Name(name) => write!(f, "/{{{name}}}")?,
            }
        }
        self.rest.iter().try_for_each(|name| write!(f, "/{{{name}*}}"))
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TemplateError::NotAbsolute => f.write_str("a template begins with `/`"),
            TemplateError::TooManySegments => {
                write!(f, "at most {} segments are accepted", RuleSpec::SEGMENTS_MAX)
            }
            TemplateError::PartOfASegment(segment) => write!(
                f,
                "in `{segment}` braces stand for a part of a segment; `{{name}}` is a whole one, and anything finer \
                 is a regular expression"
            ),
            TemplateError::BadName(name) => write!(f, "`{name}` is no name; letters, digits and `_` are accepted"),
            TemplateError::SameName(name) => write!(f, "`{{{name}}}` stands twice"),
            TemplateError::RestNotLast(name) => write!(f, "`{{{name}*}}` takes the rest, so nothing may follow it"),
            TemplateError::BadPath(why) => write!(f, "no path is like this: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, path: &str, expected: Option<&[&str]>) {
        let compiled = Template::new(template).unwrap();
        let mut captured = Vec::new();
        let matches = compiled.matches(path.as_bytes(), |at, range| {
            assert_eq!(at, captured.len());
            captured.push(&path[range]);
        });
        assert_eq!(matches.then_some(&captured[..]), expected, "{template} on {path}");
        assert_eq!(Template::new(&compiled.to_string()), Ok(compiled));
    }

    #[test]
    fn a_name_is_one_whole_segment() {
        check("/users/{id}/x", "/users/7/x", Some(&["7"]));
        check("/users/{id}/x", "/users/7/y", None);
        check("/users/{id}/x", "/users//x", None);
        check("/users/{id}/x", "/users/7/x/", None);
        check("/users/{id}/x", "/users/7", None);
        check("/users/{id}/", "/users/7/", Some(&["7"]));
        check("/users/{id}/", "/users/7", None);
        check("/{a}/{b}", "/x/y", Some(&["x", "y"]));
        check("/{a}", "/", None);
        check("/", "/", Some(&[]));
        check("/a", "*", None);
        check("/%61/é", "/a/%C3%A9", Some(&[]));
    }

    #[test]
    fn the_rest_is_one_segment_or_more() {
        check("/a/{rest*}", "/a/b", Some(&["b"]));
        check("/a/{rest*}", "/a/b/c/", Some(&["b/c/"]));
        check("/a/{rest*}", "/a/", None);
        check("/a/{rest*}", "/a", None);
        check("/{rest*}", "/x", Some(&["x"]));
        check("/{a}/{rest*}", "/x/y", Some(&["x", "y"]));
    }

    #[test]
    fn what_is_no_template_says_why() {
        use TemplateError::*;
        let refused = |text: &str| Template::new(text).unwrap_err();
        assert_eq!(refused("a"), NotAbsolute);
        assert_eq!(refused("/v{n}"), PartOfASegment("v{n}".into()));
        assert_eq!(refused("/{}"), BadName("".into()));
        assert_eq!(refused("/{a-b}"), BadName("a-b".into()));
        assert_eq!(refused("/{a}/{a}"), SameName("a".into()));
        assert_eq!(refused("/{a*}/b"), RestNotLast("a".into()));
        assert_eq!(refused("/../b"), BadPath("a segment of dots"));
        assert_eq!(refused("/%2e/b"), BadPath("a segment of dots"));
        assert_eq!(refused("/a//b"), BadPath("an empty segment"));
        assert_eq!(refused("/a b"), BadPath("path-bad-byte"));
        assert_eq!(refused(&"/a".repeat(65)), TooManySegments);
    }
}
